"""Questions about one child: which approvals make one up, and what it waits for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from broker.audit.chronology_questions import QuestionState, group_approvals
from schemas.directory import Directory

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Somebody:
    def __init__(self, person_id: str, *roles: str) -> None:
        self.id, self.roles = person_id, roles


class PeopleOf:
    """As much of a directory as decides whose approval counts."""

    local_policy: dict[str, Any] = {}  # noqa: RUF012
    people = (
        Somebody("ann", "partnership_auditor"),
        Somebody("bob", "partnership_ig_officer"),
        Somebody("eve", "auditor"),
    )


DIRECTORY = cast("Directory", PeopleOf())


def approval(
    who: str, role: str, hours_ago: float, *, used: datetime | None = None, subject: str = "s1"
) -> dict[str, Any]:
    at = NOW - timedelta(hours=hours_ago)
    return {
        "subject_digest": subject,
        "approver": who,
        "approver_agency": f"csc.{who}",
        "approver_role": role,
        "reason_code": "court_order",
        "received_at": at,
        "expires_at": at + timedelta(hours=24),
        "used_at": used,
    }


def ann(hours_ago: float, **rest: Any) -> dict[str, Any]:
    return approval("ann", "partnership_auditor", hours_ago, **rest)


def bob(hours_ago: float, **rest: Any) -> dict[str, Any]:
    return approval("bob", "partnership_ig_officer", hours_ago, **rest)


def test_one_approval_waits_and_a_second_persons_makes_it_ready_until_the_first_of_them_ends() -> None:
    (waiting,) = group_approvals([ann(2)], DIRECTORY, NOW)
    assert (waiting.state, waiting.people) == (QuestionState.WAITING, ("ann",))
    (ready,) = group_approvals([ann(2), bob(1)], DIRECTORY, NOW)
    assert (ready.state, ready.people, ready.agencies) == (QuestionState.READY, ("ann", "bob"), ("csc.ann", "csc.bob"))
    assert ready.expires_at == NOW + timedelta(hours=22)


def test_twice_the_same_person_is_one_and_who_lost_the_role_is_nobody() -> None:
    (waiting,) = group_approvals([ann(2), ann(1)], DIRECTORY, NOW)
    assert waiting.state is QuestionState.WAITING
    states = [q.state for q in group_approvals([ann(2), approval("eve", "auditor", 1)], DIRECTORY, NOW)]
    assert sorted(states) == [QuestionState.EXPIRED, QuestionState.WAITING]


def test_what_is_over_or_used_makes_nothing_ready_again() -> None:
    over, new = sorted(group_approvals([ann(25), bob(1)], DIRECTORY, NOW), key=lambda q: q.asked_at)
    assert (over.state, new.state) == (QuestionState.EXPIRED, QuestionState.WAITING)
    at = NOW - timedelta(minutes=5)
    found = group_approvals([ann(3, used=at), bob(2, used=at), ann(1)], DIRECTORY, NOW)
    assert [(q.state, q.people, q.read_at) for q in found] == [
        (QuestionState.WAITING, ("ann",), None),
        (QuestionState.READ, ("ann", "bob"), at),
    ]


def test_children_are_kept_apart() -> None:
    found = group_approvals([ann(2), bob(1, subject="s2")], DIRECTORY, NOW)
    assert {(q.subject, q.state) for q in found} == {("s1", QuestionState.WAITING), ("s2", QuestionState.WAITING)}
    assert replace(found[0], subject="s1").people == ("bob",)
