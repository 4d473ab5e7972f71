"""What the agencies' signed objects do: each is checked against what it names, registered, logged, and whatever it touches is decided again.

``read_signed`` has verified the agency's signature; here is whether the agency may say it. A refusal goes to quarantine, and its sender is told.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.intake.committing import RacedByAnother
from broker.intake.effects import Effects
from broker.intake.notifying import tell
from broker.intake.receipts import SignedCandidate, build_object
from broker.intake.referrals import DecisionContext
from broker.intake.register_view import covers_line, find_recordable
from broker.intake.requesting import decide_request
from broker.intake.stored import read_stored, write_token
from broker.store import registers as register_store
from broker.store import reviewing
from broker.store.pool import Connection
from schemas.codes import ConsentState
from schemas.envelope import KeyringAddendum
from schemas.errors import Conflict, NotFound, NotPermitted
from schemas.objects.consent import Consent
from schemas.objects.control import BreakGlassControl, DeletionConfirmedControl
from schemas.objects.correspondence import Recall, Request, RequestStep

CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
RECALLED = "RECALLED"


async def take_object(
    connection: Connection, candidate: SignedCandidate, effects: Effects, context: DecisionContext
) -> None:
    """Add what a verified signed object does to ``effects``.

    Raises:
        NotFound: it names nothing that concerns its sender.
        NotPermitted: its sender may not say it.
        Conflict: it is not the next of its chain.
    """
    takers: dict[type, Callable[..., Awaitable[None]]] = {
        KeyringAddendum: _take_addendum,
        Consent: _take_consent,
        BreakGlassControl: _take_claim,
        DeletionConfirmedControl: _take_deletion,
        Recall: _take_recall,
        Request: _take_request,
    }
    taker = takers.get(type(candidate.model))
    sender = candidate.incoming.user_id or ""
    if taker is None:
        raise NotPermitted("does not come this way", field="type")
    await taker(connection, candidate, sender, effects, context)
    build_object(candidate, effects, context.now)


async def _take_addendum(
    connection: Connection, candidate: SignedCandidate, sender: str, effects: Effects, context: DecisionContext
) -> None:
    """Keys for held sections: of the sender's own message, sealed to a key that the recipient has now, resting on registered approvals."""
    addendum: KeyringAddendum = candidate.model  # type: ignore[assignment]
    message_id = UUID(addendum.message_id)
    row = await register_store.read_message(connection, message_id)
    if (
        row is None
        or (row["sender"], addendum.sender) != (sender, sender)
        or row["manifest_digest"] != addendum.manifest_digest
    ):
        raise NotFound("there is no such message", field="addendum.message_id")
    stored = read_stored(row)
    request = stored.find_request(addendum.delivery_id)
    if request.agency != addendum.recipient:
        raise NotFound("there is no such delivery", field="addendum.delivery_id")
    if not set(addendum.sections) <= set(stored.descriptors):
        raise NotFound("there is no such section", field="addendum.sections")
    kid = addendum.keyring_descriptor.kid
    live = {
        k.kid
        for k in context.snapshot.encryption_keys.get(request.agency, ())
        if k.not_before <= effects.now < k.not_after
    }
    if kid not in live - context.snapshot.revoked:
        raise Conflict("is sealed to a key that its recipient does not have now", field="addendum.keyring")
    known = {r["object_digest"] for r in await register_store.list_approvals(connection, message_id)}
    known |= {r["object_digest"] for r in await register_store.list_claims(connection, message_id)}
    if not addendum.approvals or not set(addendum.approvals) <= known:
        raise NotPermitted("rests on no registered approval", field="addendum.approvals")
    values = {
        "object_digest": candidate.digest,
        "message_id": message_id,
        "delivery_id": addendum.delivery_id,
        "sections": list(addendum.sections),
        "kid": kid,
        "body": candidate.incoming.body,
        "received_at": context.now,
    }
    effects.writes.append(lambda writer: register_store.insert_row(writer, "addenda", values))
    _enqueue(effects, message_id, addendum.delivery_id, "addendum", candidate.digest, effects.now)


async def _take_consent(
    connection: Connection, candidate: SignedCandidate, sender: str, effects: Effects, context: DecisionContext
) -> None:
    """An entry of a consent's chain. Agreements say who may record; a withdrawal reaches what is queued and not collected."""
    consent: Consent = candidate.model  # type: ignore[assignment]
    if consent.recorded_by != sender:
        raise NotPermitted("is recorded by somebody else", field="consent.recorded_by")
    if not consent.subject_tokens:
        raise NotFound("names no subject", field="consent.subject_tokens")
    if not find_recordable(context.snapshot.directory, sender, None, consent.scope.purposes, context.now):
        raise NotPermitted("no agreement in force lets this agency record such a consent", field="consent.recorded_by")
    head = effects.chains.get(("consents", consent.consent_id))
    if head is None:
        row = await register_store.find_consent_head(connection, consent.consent_id)
        head = (row["object_digest"], row["recorded_by"]) if row is not None else None
    if consent.previous != (head[0] if head else None):
        raise Conflict("does not name the entry before it", field="consent.previous")
    if head is not None and head[1] != sender:
        raise NotPermitted("another agency keeps this record", field="consent.consent_id")
    await _check_superseded(connection, consent, sender)
    effects.chains["consents", consent.consent_id] = candidate.digest, sender
    tokens = sorted({write_token(t.scheme, t.pepper_id, t.value) for t in consent.subject_tokens})
    values = {
        "object_digest": candidate.digest,
        "consent_id": consent.consent_id,
        "recorded_by": sender,
        "state": consent.state.value,
        "record": consent.model_dump_json(),
        "tokens": tokens,
        "previous": consent.previous,
        "expires_at": consent.expires_at if consent.state is ConsentState.GIVEN else None,
        "received_at": context.now,
    }
    effects.writes.append(lambda writer: _insert_next(writer, "consents", values))
    effects.changes_registers = True
    for row in await register_store.list_touched(connection, tokens):
        _enqueue(
            effects,
            row["message_id"],
            row["delivery_id"],
            f"consent_{consent.state.value}",
            candidate.digest,
            effects.now,
        )
        if consent.state is ConsentState.WITHDRAWN and covers_line(consent.scope, row):
            for agency in dict.fromkeys((row["sender"], row["recipient"])):
                tell(effects, agency, CONSENT_WITHDRAWN, row["message_id"], row["delivery_id"], context.now)


async def _check_superseded(connection: Connection, consent: Consent, sender: str) -> None:
    """A consent that supersedes another names one of its own recorder's, of the same giver: nobody's answer is replaced by somebody else's.

    Raises:
        NotFound: there is no such consent of this recorder.
        Conflict: it is another giver's, or its own.
    """
    if consent.supersedes is None:
        return
    head = await register_store.find_consent_head(connection, consent.supersedes)
    if head is None or head["recorded_by"] != sender:
        raise NotFound("there is no such consent", field="consent.supersedes")
    earlier = Consent.model_validate(json.loads(head["record"]) if isinstance(head["record"], str) else head["record"])
    if earlier.giver is not consent.giver or consent.supersedes == consent.consent_id:
        raise Conflict("supersedes another giver's consent, or itself", field="consent.supersedes")


async def _take_claim(
    connection: Connection, candidate: SignedCandidate, sender: str, effects: Effects, context: DecisionContext
) -> None:
    """Somebody at the sender, or at a recipient, claims immediate danger. What that lifts is for the policies."""
    claim: BreakGlassControl = candidate.model  # type: ignore[assignment]
    message_id = UUID(claim.message_id)
    row = await connection.fetchrow("SELECT sender, manifest_digest FROM messages WHERE message_id = $1", message_id)
    deliveries = await reviewing.list_deliveries(connection, message_id)
    parties = {d["recipient"] for d in deliveries} | ({row["sender"]} if row else set())
    if (
        row is None
        or claim.agency != sender
        or sender not in parties
        or row["manifest_digest"] != claim.manifest_digest
    ):
        raise NotFound("there is no such message", field="control.message_id")
    values = {
        "object_digest": candidate.digest,
        "message_id": message_id,
        "agency": sender,
        "person": claim.person,
        "reason_code": claim.reason_code,
        "claimed_at": claim.claimed_at,
        "received_at": context.now,
    }
    effects.writes.append(lambda writer: register_store.insert_row(writer, "break_glass_claims", values))
    effects.changes_registers = True
    for delivery in deliveries:
        if sender in {row["sender"], delivery["recipient"]}:
            _enqueue(effects, message_id, delivery["delivery_id"], "break_glass", candidate.digest, effects.now)


async def _take_recall(
    connection: Connection, candidate: SignedCandidate, sender: str, effects: Effects, context: DecisionContext
) -> None:
    """A sender asks for deletion: the message is marked, every recipient of it is told, and confirms by a signed object."""
    recall: Recall = candidate.model  # type: ignore[assignment]
    message_id = UUID(recall.message_id)
    row = await connection.fetchrow(
        "SELECT sender, referral_id, manifest_digest FROM messages WHERE message_id = $1", message_id
    )
    told = (recall.sender, recall.referral_id, recall.manifest_digest)
    if row is None or row["sender"] != sender or told != tuple(row):
        raise NotFound("there is no such message", field="recall.message_id")
    deliveries = await reviewing.list_deliveries(connection, message_id, list(recall.deliveries) or None)
    if len(deliveries) < len(recall.deliveries):
        raise NotFound("there is no such delivery", field="recall.deliveries")
    await _check_free(connection, "SELECT 1 FROM recalls WHERE recall_id = $1", "recall.recall_id", recall.recall_id)
    _take_place(effects, "recalls", recall.recall_id, candidate, "recall.recall_id")
    values = {
        "object_digest": candidate.digest,
        "recall_id": recall.recall_id,
        "message_id": message_id,
        "deliveries": list(recall.deliveries),
        "reason_code": recall.reason_code,
        "delete_by": recall.delete_by,
        "received_at": context.now,
    }
    effects.writes.append(lambda writer: _insert_next(writer, "recalls", values))
    for delivery in deliveries:
        # Who refused it has it all the same: the wrong school above all.
        if delivery["state"] in {"open", "accepted", "opened", "actioned", "refused"}:
            tell(
                effects,
                delivery["recipient"],
                RECALLED,
                message_id,
                delivery["delivery_id"],
                context.now,
                statement=candidate.incoming.body,
            )


async def _take_deletion(
    connection: Connection, candidate: SignedCandidate, sender: str, effects: Effects, context: DecisionContext
) -> None:
    """A recipient confirms that it deleted what a recall named, or says why it is kept; the sender gets the signed word.

    What a legal hold keeps is deleted when the hold ends: an entry with an exception may be followed by one without. Nothing follows a deletion.
    """
    done: DeletionConfirmedControl = candidate.model  # type: ignore[assignment]
    message_id = UUID(done.message_id)
    row = await connection.fetchrow(
        "SELECT m.sender, r.deliveries FROM recalls r JOIN messages m USING (message_id) JOIN deliveries d USING (message_id)"
        " WHERE r.recall_id = $1 AND r.message_id = $2 AND d.delivery_id = $3 AND d.recipient = $4",
        done.recall_id,
        message_id,
        done.delivery_id,
        sender,
    )
    if row is None or done.agency != sender or (row["deliveries"] and done.delivery_id not in row["deliveries"]):
        raise NotFound("there is no such recall", field="control.recall_id")
    is_kept = done.exceptions_code is not None
    await _check_free(
        connection,
        "SELECT 1 FROM deletions WHERE recall_id = $1 AND delivery_id = $2 AND (exceptions_code IS NULL OR $3)",
        "control.delivery_id",
        done.recall_id,
        done.delivery_id,
        is_kept,
    )
    place = f"{done.recall_id}/{done.delivery_id}"
    if is_kept:
        _take_place(effects, "deletions kept", place, candidate, "control.delivery_id")
    else:
        _take_place(effects, "deletions", place, candidate, "control.delivery_id")
        effects.chains.setdefault(("deletions kept", place), (candidate.digest, ""))
    values = {
        "object_digest": candidate.digest,
        "recall_id": done.recall_id,
        "delivery_id": done.delivery_id,
        "agency": sender,
        "deleted_at": done.deleted_at,
        "exceptions_code": done.exceptions_code,
        "received_at": context.now,
    }
    effects.writes.append(lambda writer: _insert_next(writer, "deletions", values))
    tell(
        effects,
        row["sender"],
        "DELETION_CONFIRMED",
        message_id,
        done.delivery_id,
        context.now,
        statement=candidate.incoming.body,
    )


async def _take_request(
    connection: Connection, candidate: SignedCandidate, sender: str, effects: Effects, context: DecisionContext
) -> None:
    """A question, or its answer or reasoned refusal: passed on as signed, and clocked until it is answered."""
    request: Request = candidate.model  # type: ignore[assignment]
    speaker, hearer = (
        (request.requester, request.recipient)
        if request.step is RequestStep.ASKED
        else (request.recipient, request.requester)
    )
    if speaker != sender or context.snapshot.find_active_agency(hearer) is None:
        raise NotPermitted("is not for this agency to say", field="request")
    if request.step is RequestStep.ASKED:
        decide_request(request, context)
    if request.previous is not None:
        asked = await connection.fetchrow(
            "SELECT requester, recipient, request_id FROM requests WHERE object_digest = $1 AND step = 'asked'",
            request.previous,
        )
        if asked is None or tuple(asked) != (request.requester, request.recipient, request.request_id):
            raise NotFound("there is no such request", field="request.previous")
    await _check_free(
        connection,
        "SELECT 1 FROM requests WHERE request_id = $1 AND previous IS NOT DISTINCT FROM $2",
        "request.previous",
        request.request_id,
        request.previous,
    )
    _take_place(effects, "requests", f"{request.request_id}/{request.previous}", candidate, "request.previous")
    values = {
        "object_digest": candidate.digest,
        "request_id": request.request_id,
        "step": request.step.value,
        "requester": request.requester,
        "recipient": request.recipient,
        "answer_due_at": request.answer_due_at,
        "previous": request.previous,
        "state": "running" if request.step is RequestStep.ASKED else "met",
        "received_at": context.now,
    }
    effects.writes.append(lambda writer: _insert_next(writer, "requests", values))
    if request.previous is not None:
        effects.writes.append(
            lambda writer: writer.execute(
                "UPDATE requests SET state = CASE WHEN state = 'breached' THEN state ELSE 'met' END WHERE object_digest = $1",
                request.previous,
            )
        )
    tell(
        effects,
        hearer,
        f"REQUEST_{request.step.value.upper()}",
        None,
        None,
        context.now,
        statement=candidate.incoming.body,
    )


def _take_place(effects: Effects, register: str, place: str, candidate: SignedCandidate, field: str) -> None:
    """Take a place in a register that only one entry can have.

    Raises:
        Conflict: this batch has given it to another.
    """
    if effects.chains.setdefault((register, place), (candidate.digest, ""))[0] != candidate.digest:
        raise Conflict("another is registered in its place already", field=field)


async def _check_free(connection: Connection, query: str, field: str, *args: Any) -> None:
    if await connection.fetchval(query, *args):
        raise Conflict("another is registered in its place already", field=field)


async def _insert_next(connection: Connection, table: str, values: dict[str, Any]) -> None:
    if not await register_store.insert_row(connection, table, values):
        raise RacedByAnother  # another worker was faster: look again, and refuse it then


def _enqueue(  # noqa: PLR0917 - the columns of the table
    effects: Effects, message_id: UUID, delivery_id: str, cause: str, basis: str, now: datetime
) -> None:
    effects.writes.append(
        lambda connection: register_store.enqueue_decision(connection, message_id, delivery_id, cause, basis, now)
    )
