"""Questions about one child that people have asked: which wait for a second person, which can be read and until when, and which were.

A question is known by the digest of the child's token alone; the token itself is typed anew by whoever reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from broker.intake.pairing import APPROVALS_NEEDED, is_in_force
from broker.store.pool import Connection
from schemas.directory import Directory
from schemas.objects.approval import ApprovalAction

SHOWN_FOR: Final = timedelta(days=90)
_MOST: Final = 500


class QuestionState(StrEnum):
    """What a question waits for."""

    WAITING = "waiting"
    READY = "ready"
    READ = "read"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Question:
    """One question: who approved it, why, and until when. ``subject`` is the digest of the child's token."""

    subject: str
    state: QuestionState
    people: tuple[str, ...]
    """Who approved it, the one who asked first."""
    agencies: tuple[str, ...]
    """Theirs, in the same order."""
    reason_code: str
    asked_at: datetime
    expires_at: datetime
    """When the first of the approvals ends that count."""
    read_at: datetime | None = None


async def list_questions(
    connection: Connection, directory: Directory, now: datetime, *, subject: str | None = None
) -> list[Question]:
    """Return the questions of the last 90 days, newest first; of one token only, if its digest is given."""
    rows = await connection.fetch(
        "SELECT a.subject_digest, a.approver, a.approver_agency, a.approver_role, a.reason_code, a.received_at, a.expires_at, u.used_at"
        " FROM approvals a LEFT JOIN approval_uses u USING (object_digest) WHERE a.action = $1 AND a.subject_digest IS NOT NULL"
        " AND a.received_at > $2 AND ($3::text IS NULL OR a.subject_digest = $3) ORDER BY a.received_at DESC, a.object_digest LIMIT $4",
        ApprovalAction.CHRONOLOGY.value,
        now - SHOWN_FOR,
        subject,
        _MOST,
    )
    return group_approvals([dict(row) for row in reversed(rows)], directory, now)


def group_approvals(rows: Sequence[Mapping[str, Any]], directory: Directory, now: datetime) -> list[Question]:
    """Return the questions that approvals, oldest first, make up: those used together, those that count now, and each that came to nothing."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for number, row in enumerate(rows):
        counts = is_in_force(row, directory, ApprovalAction.CHRONOLOGY, now)
        together = row["used_at"] or (QuestionState.WAITING if counts else number)
        groups.setdefault((row["subject_digest"], together), []).append(row)
    found = [_make_question(subject, together, group) for (subject, together), group in groups.items()]
    return sorted(found, key=lambda question: question.asked_at, reverse=True)


def _make_question(subject: str, together: object, group: Sequence[Mapping[str, Any]]) -> Question:
    people = {row["approver"]: row["approver_agency"] for row in group}
    read_at = group[0]["used_at"]
    if read_at is not None:
        state = QuestionState.READ
    elif together is not QuestionState.WAITING:
        state = QuestionState.EXPIRED
    else:
        state = QuestionState.READY if len(people) >= APPROVALS_NEEDED else QuestionState.WAITING
    return Question(
        subject=subject,
        state=state,
        people=tuple(people),
        agencies=tuple(people.values()),
        reason_code=group[0]["reason_code"],
        asked_at=group[0]["received_at"],
        expires_at=min(row["expires_at"] for row in group),
        read_at=read_at,
    )
