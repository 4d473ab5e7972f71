"""What this agency's people say beside referrals: late release, consents, claims of danger, recalls, deletions, requests; and what the hub told them."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field

from adapters.gateway.api.access import CallingAgency
from adapters.gateway.api.inbox import CallingReader
from adapters.gateway.api.people import require_known
from adapters.gateway.incoming.inbox import WEBHOOK
from adapters.gateway.outgoing.statements import Statement
from schemas.clear_forms import (
    AgencyId,
    AskedInstant,
    EvidenceCode,
    KindCode,
    MethodCode,
    OpaqueId,
    PersonId,
    PurposeCode,
    ReasonCode,
    RoleCode,
    StatutoryTask,
    TokenSchemeCode,
    WordingVersion,
)
from schemas.codes import Compartment, ConsentGiver, ConsentState
from schemas.errors import NotFound, Rejected
from schemas.header import ConsentScope, RoutingHeader, SubjectToken
from schemas.objects.consent import Capacity

router = APIRouter(tags=["registers"])


class Form(BaseModel):
    """Base of what these endpoints read: closed to unknown members."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(Form):
    """A person's answer to a request for keys."""

    by: PersonId
    refuse_for: ReasonCode | None = None
    """A reason code: give nothing. Without it the keys are given."""


class ConsentEntry(Form):
    """An entry of a consent's chain. ``referral_id`` names the children of a referral that we sent; else ``subject_tokens``."""

    state: ConsentState
    recorder: PersonId
    consent_id: OpaqueId | None = None
    referral_id: OpaqueId | None = None
    subject_tokens: tuple[SubjectToken, ...] | None = None
    giver: ConsentGiver | None = None
    capacity: Capacity | None = None
    assessor: PersonId | None = None
    parental_responsibility_evidence: EvidenceCode | None = None
    scope: ConsentScope | None = None
    wording_version: WordingVersion | None = None
    method: MethodCode | None = None
    interpreter: bool | None = None
    expires_at: AskedInstant | None = None
    supersedes: OpaqueId | None = None
    reason_code: ReasonCode | None = None


class Claim(Form):
    """A claim of immediate danger. The words stay with the agency."""

    person: PersonId
    reason_code: ReasonCode


class RecallForm(Form):
    """A recall of what was sent under a referral."""

    reason_code: ReasonCode
    delete_by: AskedInstant


class Deletion(Form):
    """A confirmed deletion, or why something must be kept."""

    exceptions_code: ReasonCode | None = None


class Identifier(Form):
    """What a person is known by; it is turned into a token here and goes no further."""

    scheme: TokenSchemeCode
    value: str = Field(min_length=1, max_length=64)


class RequestForm(Form):
    """A request for information (DOMAIN D11). The child: of a referral that we sent or received, or by identifiers, or by tokens."""

    recipient: AgencyId
    person: PersonId
    statutory_task: StatutoryTask
    purpose: PurposeCode
    compartments: tuple[Compartment, ...]
    role: RoleCode | None = None
    kind: KindCode | None = None
    answer_due_at: AskedInstant | None = None
    referral_id: OpaqueId | None = None
    identifiers: tuple[Identifier, ...] = ()
    subject_tokens: tuple[SubjectToken, ...] = ()


class RequestReply(Form):
    """An answer by a message that we sent, or a refusal with a reason."""

    person: PersonId
    referral_id: OpaqueId | None = None
    reason_code: ReasonCode | None = None


class RequestCheck(Form):
    """Identifiers to compare with a request's subject."""

    identifiers: tuple[Identifier, ...]


@router.get("/approvals", summary="Requests for keys of what an approver released")
async def list_approvals(gateway: CallingAgency) -> dict[str, Any]:
    """List the hub's requests for keys, newest first, with what became of them."""
    return {"approvals": await asyncio.to_thread(gateway.receiving.registers.releases.list_requests)}


@router.post("/approvals/{digest}", summary="Give the keys that a request asks for, or give nothing")
async def answer_approval(digest: str, answer: Annotated[Answer, Body()], gateway: CallingAgency) -> dict[str, Any]:
    """Answer a request: the approvers' own signatures are verified once more, then the addendum is signed and sent."""
    require_known(gateway, by=answer.by)
    releases = gateway.receiving.registers.releases
    now = gateway.parts.real_clock()
    if answer.refuse_for is not None:
        await asyncio.to_thread(releases.refuse, digest, by=answer.by, reason_code=answer.refuse_for, now=now)
        return {"state": "refused"}
    directory = await gateway.keeper.refresh()
    found = await asyncio.to_thread(releases.give, digest, directory, by=answer.by, now=now)
    return {"state": "given", "digest": found}


@router.post("/consents", status_code=201, summary="Record consent: given, refused, withdrawn, expired or superseded")
async def record_consent(entry: Annotated[ConsentEntry, Body()], gateway: CallingAgency) -> dict[str, Any]:
    """Sign and send the next entry of a consent's chain."""
    require_known(gateway, recorder=entry.recorder, assessor=entry.assessor)
    members = entry.model_dump(exclude={"state", "consent_id", "reason_code"}, exclude_none=True)
    if entry.subject_tokens is None and entry.consent_id is None:
        members["subject_tokens"] = await asyncio.to_thread(_find_tokens, gateway, entry.referral_id)
    statement = await asyncio.to_thread(
        gateway.receiving.registers.record_consent,
        entry.state,
        consent_id=entry.consent_id,
        reason_code=entry.reason_code,
        **members,
    )
    return _describe(statement)


@router.post("/messages/{message_id}/break-glass", status_code=201, summary="Claim immediate danger")
async def break_glass(message_id: str, claim: Annotated[Claim, Body()], gateway: CallingAgency) -> dict[str, Any]:
    """Sign and send a claim; a retrospective review opens at once. A referral's id is read as its newest message."""
    require_known(gateway, person=claim.person)
    message = await asyncio.to_thread(_find_message, gateway, message_id)
    desk = gateway.receiving.registers
    return _describe(
        await asyncio.to_thread(desk.break_glass, message, person=claim.person, reason_code=claim.reason_code)
    )


@router.post("/referrals/{referral_id}/recall", status_code=201, summary="Ask every recipient to delete a referral")
async def recall(referral_id: str, form: Annotated[RecallForm, Body()], gateway: CallingAgency) -> dict[str, Any]:
    """Sign and send a recall; recipients are told and confirm by a signed object."""
    return _describe(
        await asyncio.to_thread(
            gateway.receiving.registers.recall, referral_id, reason_code=form.reason_code, delete_by=form.delete_by
        )
    )


@router.post("/inbox/{delivery_id}/deletion", status_code=201, summary="Confirm that a recalled delivery is deleted")
async def confirm_deletion(
    delivery_id: str, form: Annotated[Deletion, Body()], caller: CallingReader
) -> dict[str, Any]:
    """Erase the content here with the files that we wrote to output folders, and sign that it is deleted; a named contact's, with that contact's key alone.

    The case system's own copy is the caller's to delete first: ``left_with_case_system`` names the channels by which it was handed on, and
    ``kept_here`` what stays here where an exception is stated.
    """
    await asyncio.to_thread(caller.receiving.inbox.read, delivery_id, caller.contact)  # NotFound: it is not theirs
    receiving = caller.receiving
    made = await asyncio.to_thread(receiving.outputs.list_outputs, delivery_id)
    done = await asyncio.to_thread(
        receiving.registers.confirm_deletion, delivery_id, exceptions_code=form.exceptions_code
    )
    kept = [channel for channel, state in made.items() if state == "done"] if form.exceptions_code else []
    handed_on = [channel for channel, state in made.items() if state == "done" and channel == WEBHOOK]
    return _describe(done) | {"kept_here": kept, "left_with_case_system": handed_on}


@router.get("/requests", summary="Requests for information: asked by us, and asked of us")
async def list_requests(gateway: CallingAgency) -> dict[str, Any]:
    """List requests, newest first, with what became of each."""
    lines = await asyncio.to_thread(gateway.receiving.registers.requests.list_requests)
    now = gateway.parts.clock()
    return {"requests": [line.to_json(now) for line in lines]}


@router.post("/requests", status_code=201, summary="Ask another agency for named compartments about a child")
async def make_request(
    form: Annotated[RequestForm, Body()], gateway: CallingAgency, caller: CallingReader
) -> dict[str, Any]:
    """Sign and send a request; policy decides at the hub whether we may ask. About a referral that we received: its subjects, as far as we may read who they are."""
    require_known(gateway, person=form.person)
    desk = gateway.receiving.registers.requests
    tokens = [*form.subject_tokens, *desk.make_tokens((i.scheme, i.value) for i in form.identifiers)]
    if form.referral_id is not None:
        tokens += await asyncio.to_thread(_find_subjects, gateway, form.referral_id, caller.contact)
    members = form.model_dump(exclude={"referral_id", "identifiers", "subject_tokens"}, exclude_none=True)
    return _describe(await asyncio.to_thread(lambda: desk.ask(subject_tokens=tokens, **members)))


@router.post("/requests/{digest}/reply", status_code=201, summary="Answer a request, or refuse it with a reason")
async def reply_to_request(
    digest: str, form: Annotated[RequestReply, Body()], gateway: CallingAgency
) -> dict[str, Any]:
    """Sign and send an answer that names the message that holds it, or a reasoned refusal."""
    require_known(gateway, person=form.person)
    desk = gateway.receiving.registers.requests
    if (form.referral_id is None) == (form.reason_code is None):
        raise Rejected("name the referral that answers, or the reason for refusing", field="referral_id")
    if form.referral_id is not None:
        return _describe(await asyncio.to_thread(desk.answer, digest, person=form.person, referral_id=form.referral_id))
    return _describe(
        await asyncio.to_thread(desk.refuse, digest, person=form.person, reason_code=form.reason_code or "")
    )


@router.post("/requests/{digest}/check", summary="Whether a request is about somebody with these identifiers")
async def check_request(digest: str, form: Annotated[RequestCheck, Body()], gateway: CallingAgency) -> dict[str, bool]:
    """Compare identifiers with a request's subject tokens; they go no further."""
    desk = gateway.receiving.registers.requests
    found = await asyncio.to_thread(desk.concerns, digest, [(i.scheme, i.value) for i in form.identifiers])
    return {"concerns": found}


@router.get("/statements", summary="What this agency said")
async def list_statements(gateway: CallingAgency) -> dict[str, Any]:
    """List signed statements, and whether the log has them."""
    return {"statements": await asyncio.to_thread(gateway.receiving.registers.statements.list_statements)}


@router.get("/told", summary="What the hub told this agency")
async def list_told(gateway: CallingAgency) -> dict[str, Any]:
    """List what was told (CONSENT_WITHDRAWN, RECALLED, overdue …), with tickets and recalls."""
    desk = gateway.receiving.registers
    return {
        "told": await asyncio.to_thread(desk.statements.list_told),
        "tickets": await asyncio.to_thread(desk.tickets.list_tickets),
        "recalled": await asyncio.to_thread(desk.recalls.list_recalled),
    }


def _find_tokens(gateway: CallingAgency, referral_id: str | None) -> list[dict[str, Any]]:
    plan = gateway.outbox.read_plan(referral_id) if referral_id else None
    if plan is None:
        raise Rejected("name a referral that was sent, or the subjects' tokens", field="referral_id")
    header = RoutingHeader.model_validate(plan["header"])
    tokens = {(t.scheme, t.pepper_id, t.value): t for routing in header.routing for t in routing.tokens}
    if not tokens:
        raise Rejected("the referral's subjects have no identifier to know them by", field="referral_id")
    return [tokens[key].model_dump() for key in sorted(tokens)]


def _find_subjects(gateway: CallingAgency, referral_id: str, contact: str | None) -> list[SubjectToken]:
    """Return the tokens of whom a referral is about that we sent, or else received."""
    try:
        return [SubjectToken.model_validate(token) for token in _find_tokens(gateway, referral_id)]
    except NotFound:
        receiving = gateway.receiving
        return receiving.registers.requests.make_tokens(receiving.subjects.list_identifiers(referral_id, contact))


def _find_message(gateway: CallingAgency, name: str) -> str:
    try:
        return gateway.outbox.find_referral(name).message_id or name
    except NotFound:
        return name


def _describe(statement: Statement) -> dict[str, Any]:
    return {"digest": statement.digest, "subject": statement.subject, "type": statement.type}
