"""This agency's part in the registers: the desk that takes in what the hub tells, and says what its people say.

Consents, claims of danger, recalls with confirmed deletions: each a signed statement, chained where it has a history. Requests for information have a
desk of their own (``requests``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog
from pydantic import BaseModel, ValidationError

from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.incoming.tickets import TicketDesk
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.recall_view import add_recalls
from adapters.gateway.outgoing.releases import ReleaseDesk
from adapters.gateway.outgoing.requests import RequestDesk
from adapters.gateway.outgoing.statements import Statement, StatementBook
from adapters.gateway.random_ids import new_opaque_id
from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.checkpoint import read_proof
from schemas.codes import ConsentState
from schemas.errors import Conflict, NotFound, Rejected, SafelaneError
from schemas.objects import peek_object
from schemas.objects.consent import Consent
from schemas.objects.control import BreakGlassControl, DeletionConfirmedControl
from schemas.objects.correspondence import Recall
from schemas.objects.registry import read_object
from schemas.validation import describe_first_fault, name_first_fault

_log = structlog.get_logger(__name__)

MAX_TOLD_BYTES = 4 * 1024 * 1024
_TOLD_OUTCOMES = frozenset({"told", "refused", "overdue", "negative_receipt"})
_NOT_TOLD = frozenset({"event", "salt", "proof"})


@dataclass(frozen=True, slots=True)
class RegisterDesk:
    """What an agency says and hears beside referrals and receipts. ``clock`` is the business clock, ``real_clock`` the real one."""

    agency: str
    statements: StatementBook
    releases: ReleaseDesk
    tickets: TicketDesk
    outbox: Outbox
    inbox: InboxStore
    recalls: InboxRecalls
    requests: RequestDesk
    keeper: DirectoryKeeper
    clock: Callable[[], datetime]
    real_clock: Callable[[], datetime]
    erase_files: Callable[[str], int]
    """Erases the files that outputs wrote of a delivery."""

    def hear(self, body: bytes, outcome: str, *, proven: bool) -> bool:
        """Take in a notice that is about the registers; return whether it was one. Without its proof it is kept for nobody."""
        members = parse_object(body, max_bytes=MAX_TOLD_BYTES, field="notice")
        if outcome == "recorded" and isinstance(members.get("object_digest"), str):
            if proven:
                position = read_proof(str(members["proof"])).index
                self.statements.record_logged(members["object_digest"], position)
            return True
        if (
            outcome == "rejected"
            and proven
            and self.statements.record_refused(
                str(members.get("message_id")),
                str(members.get("message_id")),
                str((members.get("error") or {}).get("code", "rejected")),
            )
        ):
            return True
        if outcome == "ticket":
            self.tickets.take_in(str(members.get("delivery_id")), str(members.get("message_id")))
            return True
        if outcome not in _TOLD_OUTCOMES:
            return False
        if proven:
            self._keep(members, body, outcome)
        return True

    def _keep(self, members: Mapping[str, Any], body: bytes, outcome: str) -> None:
        told = {name: value for name, value in members.items() if name not in _NOT_TOLD}
        code = str(members.get("code") or outcome)
        digest = sha256_base64url(canonical_bytes(told))
        delivery_id = members.get("delivery_id") or None
        if code == "RECALLED" and delivery_id:
            # One that its sender did not sign must not take the place of the one that it did.
            if self._is_recall(str(delivery_id), members.get("statement")):
                self.recalls.mark_recalled(str(delivery_id), json.dumps(members.get("statement")))
            else:
                _log.warning("recall_not_proven", agency=self.agency, delivery_id=delivery_id)
        if outcome == "refused" and delivery_id:
            self.releases.withdraw(
                str(members.get("message_id")),
                str(delivery_id),
                by=str(members.get("decided_by")),
                reason_code=str(members.get("reason_code")),
                now=self.real_clock(),
            )
        self.statements.record_told(digest, code, str(members.get("message_id") or ""), delivery_id, body)
        _log.warning("told", agency=self.agency, code=code, delivery_id=delivery_id)

    def _is_recall(self, delivery_id: str, statement: Any) -> bool:
        """Tell whether ``statement`` is a recall of this delivery, signed by who sent it (before it is here: by who says so)."""
        directory = self.keeper.current(self.real_clock())
        try:
            signed = canonical_bytes(statement)
            sender, message_id = self._find_sent(delivery_id) or (str(peek_object(signed).get("sender")), None)
            recall = read_object("recall", signed, directory.signing_keys.get(sender, ()))
        except (SafelaneError, TypeError):
            return False
        return isinstance(recall, Recall) and message_id in {None, recall.message_id}

    def _find_sent(self, delivery_id: str) -> tuple[str, str] | None:
        try:
            entry = self.inbox.find_entry(delivery_id)
        except NotFound:
            return None  # its recall can come before it
        return entry.sender, entry.message_id

    def record_consent(
        self, state: ConsentState, *, consent_id: str | None, reason_code: str | None, **members: Any
    ) -> Statement:
        """Sign the next entry of a consent's chain: a new chain without ``consent_id``; otherwise what the last entry said holds on.

        Raises:
            NotFound: there is no such chain here.
            Conflict: it was withdrawn already, and nothing would change.
            Rejected: the entry is not complete.
        """
        last = self.statements.find_last("consent", consent_id) if consent_id else None
        if consent_id and last is None:
            raise NotFound("there is no such consent here", field="consent_id")
        now = self.clock()
        before: dict[str, Any] = {}
        if last is not None:
            said = peek_object(last.body)
            if state is ConsentState.WITHDRAWN and said["state"] == state.value:
                raise Conflict("is withdrawn already", field="consent_id")
            kept = (
                "subject_tokens",
                "referral_id",
                "message_id",
                "giver",
                "capacity",
                "assessor",
                "scope",
                "given_at",
                "expires_at",
            )
            before = {name: said[name] for name in kept if said.get(name) is not None}
        instants = {ConsentState.GIVEN: {"given_at": now}, ConsentState.WITHDRAWN: {"withdrawn_at": now}}
        fields = {
            "consent_id": consent_id or new_opaque_id(),
            "recorded_by": self.agency,
            "recorded_at": now,
            "state": state,
            "reason_code": reason_code,
            "previous": last.digest if last else None,
            **before,
            **instants.get(state, {}),
            **{name: value for name, value in members.items() if value is not None},
        }
        consent = _make(Consent, fields)
        return self.statements.sign("consent", consent, subject=consent.consent_id)

    def break_glass(self, message_id: str, *, person: str, reason_code: str) -> Statement:
        """Sign a claim of immediate danger about a message that we sent or received.

        Raises:
            NotFound: there is no such message here.
            Rejected: person or reason is not of its form.
        """
        manifest_digest = self.outbox.manifest_digest(message_id) or self.recalls.find_manifest(message_id)
        if manifest_digest is None:
            raise NotFound("there is no such message", field="message_id")
        claim = _make(
            BreakGlassControl,
            {
                "agency": self.agency,
                "message_id": message_id,
                "manifest_digest": manifest_digest,
                "person": person,
                "reason_code": reason_code,
                "claimed_at": self.clock(),
            },
        )
        return self.statements.sign("control", claim, subject=message_id)

    def recall(self, referral_id: str, *, reason_code: str, delete_by: datetime) -> Statement:
        """Ask every recipient of a referral's newest message to delete it.

        Raises:
            NotFound: there is no such referral, or it was never sealed.
        """
        message_id = self.outbox.find_referral(referral_id).message_id
        digest = self.outbox.manifest_digest(message_id) if message_id else None
        if message_id is None or digest is None:
            raise NotFound("was never sent", field="referral_id")
        recall = _make(
            Recall,
            {
                "recall_id": new_opaque_id(),
                "sender": self.agency,
                "message_id": message_id,
                "referral_id": referral_id,
                "manifest_digest": digest,
                "reason_code": reason_code,
                "issued_at": self.real_clock(),
                "delete_by": delete_by,
            },
        )
        return self.statements.sign("recall", recall, subject=message_id)

    def add_recalls(self, view: dict[str, Any]) -> dict[str, Any]:
        """Return a referral's view with what became of its recall. Without a directory that is in force no confirmation counts."""
        try:
            directory = self.keeper.current(self.real_clock())
        except SafelaneError:
            directory = None
        return add_recalls(view, self.statements, directory)

    def confirm_deletion(self, delivery_id: str, *, exceptions_code: str | None = None) -> Statement:
        """Delete a recalled delivery's content here, with the files that we wrote of it, and sign that it is deleted. Said again, it is the same statement.

        With ``exceptions_code`` (a legal hold) everything stays, and that is signed; when it no longer must, a deletion may follow.

        Raises:
            NotFound: it is not there, or its sender has not recalled it.
            Conflict: an exception is stated after the deletion, or after another exception.
            DependencyUnavailable: a file in an output folder cannot be erased; nothing is signed.
        """
        recall_jws = self.recalls.find_recall(delivery_id)
        entry = self.inbox.find_entry(delivery_id)
        signed = canonical_bytes(json.loads(recall_jws)) if recall_jws else b""
        directory = self.keeper.current(self.real_clock())
        recall = read_object("recall", signed, directory.signing_keys.get(entry.sender, ())) if signed else None
        if not isinstance(recall, Recall) or recall.message_id != entry.message_id:
            raise NotFound("is not recalled by its sender", field="delivery_id")
        said = self._find_confirmed(recall.recall_id, delivery_id)
        if exceptions_code in said:
            return said[exceptions_code]
        if exceptions_code is not None and said:
            what = "it is deleted already" if None in said else "another exception is stated already"
            raise Conflict(what, field="exceptions_code")
        if exceptions_code is None:
            self.recalls.erase_content(delivery_id, self.real_clock())
            self.erase_files(delivery_id)
        done = _make(
            DeletionConfirmedControl,
            {
                "agency": self.agency,
                "recall_id": recall.recall_id,
                "message_id": entry.message_id,
                "delivery_id": delivery_id,
                "deleted_at": self.real_clock(),
                "exceptions_code": exceptions_code,
            },
        )
        return self.statements.sign("control", done, subject=entry.message_id)

    def _find_confirmed(self, recall_id: str, delivery_id: str) -> dict[str | None, Statement]:
        """Return what was signed of this recall before, by exception: the hub has one place for each, and would quarantine a second."""
        confirmed = {}
        for statement, _, refused in self.statements.list_signed("control"):
            said = peek_object(statement.body)
            if refused is None and (said.get("recall_id"), said.get("delivery_id")) == (recall_id, delivery_id):
                confirmed[said.get("exceptions_code")] = statement
        return confirmed


Made = TypeVar("Made", bound=BaseModel)


def _make(form: type[Made], fields: Mapping[str, Any]) -> Made:
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        where = name_first_fault(error)
        raise Rejected(describe_first_fault(error), field=where or form.__name__.lower()) from None
