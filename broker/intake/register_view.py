"""From the registers' rows to what a decision sees of them (``broker.decisions.Registers``), for one message at one moment."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.decisions.agreements import find_agreement
from broker.decisions.registers import NO_REGISTERS, Approval, Registers
from broker.intake.stored import list_tokens
from broker.store import registers as register_store
from broker.store.pool import Connection
from schemas.codes import ConsentGiver, ConsentState
from schemas.directory import Directory
from schemas.header import BreakGlassClaim, ConsentFacts, ConsentScope, DisclosureToken, RoutingHeader
from schemas.objects.approval import ApprovalAction
from schemas.objects.consent import Capacity, Consent

_OLDEST_PRESUMED = 16


async def read_registers(
    connection: Connection,
    header: RoutingHeader,
    directory: Directory,
    *,
    sender: str,
    conversation: str | None,
    message_id: UUID | None = None,
    recipient: str | None = None,
    now: datetime,
    version: int = 0,
    before: int | None = None,
) -> Registers:
    """Return what the registers say of a message, of ``conversation`` (none for a plan: which matter a token serves is seen when it is sent).

    It is one that is stored (``message_id``), of which one delivery is decided (to ``recipient``), or one that is to be decided for the first time.
    ``before`` is a position of the log: the registers as they were then, to run an old decision again; none, as they are.
    """
    consents = await register_store.list_consents(connection, list_tokens(header), before)
    approvals = await register_store.list_approvals(connection, message_id, before) if message_id else []
    claims = await register_store.list_claims(connection, message_id, before) if message_id else []
    # Who claims danger opens what is on its way to itself; for the others it is the sender who answers.
    counting = [row for row in claims if row["agency"] in {sender, recipient}]
    tokens = tuple(_read_token(row) for row in approvals if row["action"] == ApprovalAction.DISCLOSURE_TOKEN)
    stated = [(t.scheme, t.ref) for t in (*header.policy.tokens, *tokens)] if conversation is not None else []
    used = await register_store.find_used(connection, sender, stated, conversation or "", before)
    if not (consents or approvals or counting or used):
        return NO_REGISTERS
    lifted = [row for row in approvals if row["action"] == ApprovalAction.LIFT_EMBARGO]
    reviewed = [row["received_at"] for row in approvals if row["action"] == ApprovalAction.REVIEW_EMBARGO]
    return Registers(
        version=version,
        approvals=tuple(a for row in approvals if row["action"] == ApprovalAction.RELEASE for a in _read_approval(row)),
        consents=tuple(_find_facts(header.policy.consent, consents, header, directory, now)),
        break_glass=_read_claim(counting[-1]) if counting else None,
        tokens=tokens,
        used_tokens=used,
        embargo_lifted_at=min((r["received_at"] for r in lifted if r["recipient"] is None), default=None),
        embargo_reviewed_at=max(reviewed, default=None),
        embargo_named=tuple(
            name for row in lifted if row["recipient"] for name in _name_contacts(directory, row["recipient"])
        ),
    )


def _read_approval(row: Any) -> list[Approval]:
    """Return one approval for each compartment, or one for the delivery as a whole where it names none."""
    return [
        Approval(
            by=row["approver"],
            reason_given=bool(row["reason_code"].strip()),
            recipient=row["delivery_recipient"],
            role=row["role"],
            compartment=compartment,
            requested_by=row["requester"],
            # By the log's own time: how long it is good for is the approver's, from when it was logged.
            approved_at=row["received_at"],
            expires_at=_find_end(row),
        )
        for compartment in (row["compartments"] or [None])
    ]


def _find_end(row: Any) -> datetime:
    end: datetime = row["received_at"] + (row["expires_at"] - row["issued_at"])
    return end


def _read_token(row: Any) -> DisclosureToken:
    return DisclosureToken(
        scheme=row["scheme"],
        ref=row["approval_id"],
        recipient=row["recipient"],
        expires_at=_find_end(row),
        authorised_by=row["approver"],
    )


def _read_claim(row: Any) -> BreakGlassClaim:
    return BreakGlassClaim(by=row["person"], reason_given=bool(row["reason_code"].strip()), at=row["claimed_at"])


def _name_contacts(directory: Directory, agency_id: str) -> list[str]:
    agency = directory.find_agency(agency_id)
    return [f"{agency_id}#{contact.id}" for contact in agency.contacts] if agency else []


def _find_facts(
    stated: ConsentFacts, rows: Sequence[Any], header: RoutingHeader, directory: Directory, now: datetime
) -> list[ConsentFacts]:
    """Return the recorded consents that came after what the header states, oldest first, each within what its recorder may record."""
    answered_at = max((m for m in (stated.given_at, stated.withdrawn_at) if m is not None), default=None)
    found = []
    for row in rows:
        record = Consent.model_validate(_load(row["record"]))
        moment = max(m for m in (record.withdrawn_at, record.given_at, record.recorded_at) if m is not None)
        if answered_at is not None and moment < answered_at:
            continue
        facts = read_consent(record, stated)
        if record.state is not ConsentState.GIVEN:
            found.append(facts)  # a refusal or withdrawal narrows, whoever was told of it
            continue
        purposes = find_recordable(directory, record.recorded_by, header.decision_kind, facts.scope.purposes, now)
        if purposes:
            scope = facts.scope.model_copy(update={"purposes": tuple(sorted(purposes))})
            found.append(facts.model_copy(update={"scope": scope}))
    return found


def read_consent(record: Consent, stated: ConsentFacts) -> ConsentFacts:
    """Return a recorded consent as decisions see it. A giver whom the sender suspects stays suspected, whoever records the answer."""
    suspected = record.giver is ConsentGiver.SUSPECTED_PERPETRATOR or (
        stated.giver_suspected and stated.giver is record.giver
    )
    return ConsentFacts(
        state=record.state,
        giver=record.giver,
        giver_age=_OLDEST_PRESUMED if record.capacity is Capacity.PRESUMED_16_17 else None,
        given_at=record.given_at or (record.recorded_at if record.state is ConsentState.GIVEN else None),
        expires_at=record.expires_at,
        withdrawn_at=record.withdrawn_at,
        gillick_competent=True if record.capacity is Capacity.GILLICK else None,
        assessor_named=record.assessor is not None,
        giver_suspected=suspected,
        scope=record.scope,
        method=record.method,
        wording_version=record.wording_version,
        interpreter=record.interpreter,
        reason_code=record.reason_code,
    )


def covers_line(scope: ConsentScope, line: Any) -> bool:
    """Tell whether a consent's scope covers a delivery's recipient and purpose."""
    return (scope.recipients is None or line["recipient"] in scope.recipients) and (
        scope.purposes is None or line["purpose"] in scope.purposes
    )


def find_recordable(
    directory: Directory, recorder: str, kind: str | None, purposes: Sequence[str] | None, now: datetime
) -> set[str]:
    """Return the purposes for which an agency may record consent: those of the agreements in force that it is a party to.

    ``kind`` none: of any kind. ``purposes`` none: whatever those agreements list.
    """
    found: set[str] = set()
    for agreement in directory.agreements:
        if recorder not in agreement.parties:
            continue
        for purpose in agreement.purposes:
            if purposes is not None and purpose not in purposes:
                continue
            kinds = [kind] if kind is not None else list(agreement.kinds)
            if any(
                find_agreement(directory, (recorder, other), each, purpose, now).state == "in_force"
                for each in kinds
                for other in agreement.parties
                if other != recorder
            ):
                found.add(purpose)
    return found


def _load(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
