"""Requests for information (DOMAIN section 5, D11): what this agency asked of others, what others asked of it, and the answers, each signed.

A request names compartments about subject tokens, states its statutory task and when an answer is due. Who is asked answers by naming the message that
holds the answer, or refuses with a reason. The hub clocks it and passes it on; here each is verified against its speaker's own keys.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.statements import Statement, StatementBook
from adapters.gateway.random_ids import new_opaque_id
from adapters.mapping.heading import make_token
from schemas import calendars
from schemas.canonical import canonical_bytes
from schemas.clear_codes import TokenScheme
from schemas.codes import Compartment
from schemas.directory import Directory
from schemas.errors import ConfigInvalid, Conflict, NotFound, Rejected, SafelaneError
from schemas.header import SubjectToken
from schemas.identifiers import parse_identifier
from schemas.objects import digest_object, peek_object
from schemas.objects.correspondence import Request, RequestStep
from schemas.objects.registry import read_object
from schemas.validation import describe_first_fault, name_first_fault

ASKED = "REQUEST_ASKED"
ANSWERS = ("REQUEST_ANSWERED", "REQUEST_REFUSED")
ANSWER_CLOCK = "request_answer"


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request as its parties see it: codes, ids and instants. ``state``: sent, waiting, answered, refused, or not_permitted by the hub."""

    digest: str
    ours: bool
    request: Request
    state: str
    answer: Request | None = None
    code: str | None = None

    def to_json(self, now: datetime) -> dict[str, Any]:
        """Return the line for the local API."""
        shown = self.request.model_dump(mode="json", exclude={"step", "previous", "subject_tokens"}, exclude_none=True)
        return shown | {
            "digest": self.digest,
            "ours": self.ours,
            "state": self.state,
            "overdue": self.state == "waiting" and self.request.answer_due_at <= now,
            "subjects": len(self.request.subject_tokens),
            "code": self.code,
            "answered_by": self.answer.person if self.answer else None,
            "answer_message_id": self.answer.answer_message_id if self.answer else None,
            "reason_code": self.answer.reason_code if self.answer else None,
        }


@dataclass(frozen=True, slots=True)
class RequestDesk:
    """Asks, answers and refuses for one agency. ``clock`` is the business clock, ``real_clock`` the real one."""

    agency: str
    statements: StatementBook
    outbox: Outbox
    keeper: DirectoryKeeper
    pepper: Callable[[], tuple[str, bytes]]
    clock: Callable[[], datetime]
    real_clock: Callable[[], datetime]

    def make_tokens(self, identifiers: Iterable[tuple[str, str]]) -> list[SubjectToken]:
        """Return the subject tokens of identifiers (scheme, value): the values themselves go nowhere.

        Raises:
            Rejected: a value is not of its scheme: the token of a mistyped number would be nobody's, and find nothing.
        """
        pepper_id, pepper = self.pepper()
        test_mode = self._directory().partnership.test_mode
        tokens = []
        for scheme, value in identifiers:
            kind = TokenScheme.NHS.value if scheme == TokenScheme.NHS_UNVERIFIED else scheme
            known = parse_identifier(kind, value, test_mode=test_mode, field="identifiers")
            tokens.append(SubjectToken(scheme=scheme, pepper_id=pepper_id, value=make_token(pepper, scheme, known)))
        return tokens

    def ask(
        self,
        *,
        recipient: str,
        compartments: Sequence[Compartment],
        subject_tokens: Sequence[SubjectToken],
        role: str | None = None,
        answer_due_at: datetime | None = None,
        **members: Any,
    ) -> Statement:
        """Sign a request. Without ``answer_due_at`` it is due as local policy says; without ``role``, asked in our first one.

        Raises:
            NotFound: there is no such agency, or we are in no directory.
            ConfigInvalid: local policy says nothing of when answers are due.
            Rejected: a part is missing or not of its form.
        """
        directory = self._directory()
        us = directory.find_agency(self.agency)
        if directory.find_agency(recipient) is None or us is None:
            raise NotFound("there is no such agency in the directory", field="recipient")
        now = self.clock()
        fields = {
            "request_id": new_opaque_id(),
            "step": RequestStep.ASKED,
            "requester": self.agency,
            "requester_role": role or us.roles[0],
            "recipient": recipient,
            "compartments": tuple(compartments),
            "subject_tokens": tuple(subject_tokens),
            "conversation": new_opaque_id(),
            "issued_at": now,
            "answer_due_at": answer_due_at or _find_due(directory, now),
            **members,
        }
        return self._sign(fields)

    def answer(self, digest: str, *, person: str, referral_id: str) -> Statement:
        """Answer a request by the message that we sent under a referral.

        Raises:
            NotFound: there is no such request, or the referral was never sent.
            Conflict: it was answered or refused already.
        """
        message_id = self.outbox.find_referral(referral_id).message_id
        if message_id is None:
            raise NotFound("was never sent", field="referral_id")
        return self._reply(digest, step=RequestStep.ANSWERED, person=person, answer_message_id=message_id)

    def refuse(self, digest: str, *, person: str, reason_code: str) -> Statement:
        """Refuse a request with a reason.

        Raises:
            NotFound: there is no such request.
            Conflict: it was answered or refused already.
        """
        return self._reply(digest, step=RequestStep.REFUSED, person=person, reason_code=reason_code)

    def list_requests(self) -> list[RequestLine]:
        """Return what we asked and what was asked of us, newest first. What its speaker did not sign is left out."""
        own = self.statements.list_signed("request")
        said = {}
        for statement, _, code in own:
            reply = Request.model_validate(peek_object(statement.body))
            if reply.previous is not None and code is None:
                said[reply.previous] = reply
        heard = {r.previous: r for _, r in self._read_told(ANSWERS) if r.previous is not None}
        lines = [
            _describe_own(statement.digest, request, logged, code, heard.get(statement.digest))
            for statement, logged, code in own
            if (request := Request.model_validate(peek_object(statement.body))).step is RequestStep.ASKED
        ]
        for digest, request in self._read_told((ASKED,)):
            ours = said.get(digest)
            state = ours.step.value if ours else "waiting"
            lines.append(RequestLine(digest, ours=False, request=request, state=state, answer=ours))
        return sorted(lines, key=lambda line: line.request.issued_at, reverse=True)

    def concerns(self, digest: str, identifiers: Iterable[tuple[str, str]]) -> bool:
        """Tell whether a request is about somebody with one of these identifiers; an NHS number is known by it whether it was traced or not.

        Raises:
            NotFound: there is no such request.
            Rejected: an identifier is not of its scheme.
        """
        wanted = {(t.scheme, t.value) for t in self._find(digest).request.subject_tokens}
        given = list(identifiers)
        untraced = [(TokenScheme.NHS_UNVERIFIED.value, value) for scheme, value in given if scheme == TokenScheme.NHS]
        return any((t.scheme, t.value) in wanted for t in self.make_tokens([*given, *untraced]))

    def _reply(self, digest: str, **members: Any) -> Statement:
        line = self._find(digest)
        if line.ours:
            raise NotFound("was not asked of this agency", field="digest")
        if line.answer is not None:
            raise Conflict(f"is {line.state} already", field="digest")
        kept = line.request.model_dump(exclude={"step", "person", "issued_at"}, exclude_none=True)
        return self._sign(kept | {"previous": digest, "issued_at": self.clock(), **members})

    def _find(self, digest: str) -> RequestLine:
        found = next((line for line in self.list_requests() if line.digest == digest), None)
        if found is None:
            raise NotFound("there is no such request here", field="digest")
        return found

    def _sign(self, fields: dict[str, Any]) -> Statement:
        try:
            request = Request.model_validate(fields)
        except ValidationError as error:
            raise Rejected(describe_first_fault(error), field=name_first_fault(error) or "request") from None
        return self.statements.sign("request", request, subject=request.request_id)

    def _read_told(self, codes: Sequence[str]) -> list[tuple[str, Request]]:
        """Return the requests or replies that the hub passed on, by digest, each verified as its speaker's own."""
        keys = self.keeper.current(self.real_clock()).signing_keys
        found = []
        for body in self.statements.list_told_bodies(codes):
            signed = canonical_bytes(json.loads(body).get("statement") or {})
            try:
                claimed = peek_object(signed)
                speaker = str(claimed.get("requester" if claimed.get("step") == RequestStep.ASKED else "recipient"))
                request = read_object("request", signed, keys.get(speaker, ()))
            except SafelaneError:
                continue
            if isinstance(request, Request) and self.agency in {request.requester, request.recipient} - {speaker}:
                found.append((digest_object(signed), request))
        return found

    def _directory(self) -> Directory:
        return self.keeper.current(self.real_clock()).directory


def _describe_own(
    digest: str,
    request: Request,
    logged: bool,  # noqa: FBT001 - one of a row's columns
    code: str | None,
    answer: Request | None,
) -> RequestLine:
    if answer is not None and answer.request_id == request.request_id and answer.recipient == request.recipient:
        return RequestLine(digest, ours=True, request=request, state=answer.step.value, answer=answer)
    state = "not_permitted" if code else "waiting" if logged else "sent"
    return RequestLine(digest, ours=True, request=request, state=state, code=code)


def _find_due(directory: Directory, now: datetime) -> datetime:
    """Return when local policy wants an answer: so many working days, or hours."""
    setting = directory.local_policy.get("clocks", {}).get(ANSWER_CLOCK, {})
    if "hours" in setting:
        return calendars.due_after_hours(now, setting["hours"])
    try:
        return calendars.due_after_working_days(
            now,
            setting["working_days"],
            closes=time.fromisoformat(str(directory.local_policy["office_closes"])),
            bank_holidays=frozenset(holiday.date for holiday in directory.bank_holidays),
            zone=ZoneInfo(directory.partnership.timezone),
        )
    except (KeyError, TypeError, ValueError):
        raise ConfigInvalid(
            "says nothing of when answers are due", field=f"local_policy.clocks.{ANSWER_CLOCK}"
        ) from None
