"""One week of a made-up county, as the hub would have stored and logged it: the template that ``bench.filling`` repeats week after week.

Every id and pseudonym in it holds ``MARK``, which a copy replaces by its week's number, and every instant is a whole second, so that a copy moves it by
whole weeks. Nothing in it is content; bodies are empty, as after retention, and what the routing header said stands in ``kept``.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from broker.log.events import write_event
from broker.reports.facts import ReferralFact
from schemas.canonical import encode_base64url
from tests.support.logged_referrals import RECEIVERS, ROW_WEIGHTS, ROWS, SCHOOLS, SENDER_WEIGHTS, SENDERS
from tests.support.report_facts import CLOCKS, FLAGS, KIND_WEIGHTS, KINDS

MARK: Final = "c0c0"
"""Stands in every id of the template for the number of the week, four hexadecimal digits."""
WEEK: Final = timedelta(days=7)
AREAS: Final = ("E10999001", "E10999002")
PEOPLE: Final = 60
BUSY_REVISIONS: Final = 40
BUSY_LOOKS: Final = 300
_HOURS: Final = (2, 1, 1, 1, 1, 1, 2, 3, 6, 9, 10, 10, 8, 9, 10, 11, 10, 9, 7, 6, 5, 5, 4, 3)
"""How many referrals come in each hour of the day: most in office hours."""
_OUTCOMES: Final = {"D12": "held", "D9": "withheld", "D7": "withheld"}
_COMPARTMENTS: Final = ("C01", "C02", "C03", "C06", "C07", "C10", "C13", "C17")
_DIGEST: Final = encode_base64url(bytes(32))
_ROLES: Final = {"csc": "csc", "health": "health_safeguarding", "school": "dsl", "police": "police"}
_AREA_OF: Final = (0.7, 0.3)


@dataclass(frozen=True, slots=True)
class WeekEvent:
    """One event: its own id, when it was logged, what it says, and which message it is about."""

    event_id: UUID
    kind: str
    at: datetime
    event: bytes
    instants: tuple[datetime, ...]
    """Those that ``event`` states, which a copy moves."""
    message_id: UUID | None


@dataclass
class CountyWeek:
    """Rows by table, as they stand once all events have happened (``rows``), and at the week's end (``cut``), and the events in order."""

    starts_at: datetime
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cut: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    kept: list[ReferralFact] = field(default_factory=list)
    events: list[WeekEvent] = field(default_factory=list)

    @property
    def ends_at(self) -> datetime:
        return self.starts_at + WEEK

    def add(self, table: str, row: dict[str, Any], **at_the_end: Any) -> None:
        """Add a row; ``at_the_end`` are members that are otherwise when the week ends."""
        self.rows.setdefault(table, []).append(row)
        self.cut.setdefault(table, []).append({**row, **at_the_end})


def write_id(number: int, tail: int) -> UUID:
    """Return an id of the form of a UUIDv7 that sorts by week and number."""
    digits = f"{MARK}{number:08x}7{tail >> 60:03x}8{(tail >> 48) & 0xFFF:03x}{tail & 0xFFFFFFFFFFFF:012x}"
    return UUID(digits)


class WeekMaker:
    """Makes the week; the same seed gives the same one."""

    def __init__(self, starts_at: datetime, referrals: int, seed: int = 11) -> None:
        """``starts_at`` is a whole second."""
        self._draw = random.Random(seed)  # noqa: S311 (made-up data)
        self.week = CountyWeek(starts_at)
        self._referrals = referrals
        self._messages = 0
        self._events = 0

    def make(self) -> CountyWeek:
        """Make referrals, what became of them, and who looked at them."""
        for at in self._list_instants(self._referrals):
            sender = self._draw.choices(SENDERS, SENDER_WEIGHTS)[0]
            self._refer(at, sender, self._draw.choices(KINDS, KIND_WEIGHTS)[0])
        self._make_busy()
        for at in self._list_instants(max(7, self._referrals // 12)):
            self._look_around(at)
        self.week.events.sort(key=lambda event: (event.at, event.event_id))
        return self.week

    def _list_instants(self, count: int) -> Iterator[datetime]:
        """Yield instants of the week in order, by the hours' weights."""
        draw = self._draw
        seconds = sorted(
            draw.randrange(7) * 86_400 + draw.choices(range(24), _HOURS)[0] * 3600 + draw.randrange(3600)
            for _ in range(count)
        )
        first = self.week.starts_at.hour * 3600
        return (self.week.starts_at + timedelta(seconds=(second - first) % (7 * 86_400)) for second in seconds)

    def _refer(self, at: datetime, sender: str, kind: str, *, of: str = "", revision: int = 1) -> str:
        """Add a message with its deliveries, receipts, clocks and looks; return its referral's id."""
        draw, number = self._draw, self._messages
        self._messages += 1
        message_id = write_id(number, draw.getrandbits(72))
        referral_id = of or f"ref-{MARK}{number:08x}"
        recipients = self._choose_recipients(sender, kind)
        clocks = self._start_clocks(at, kind, recipients)
        event_id = self._log(
            "accepted", at, message_id, referral_id=referral_id, revision=revision, sender=sender, kind=kind,
            manifest_digest=_DIGEST, notice_sha256=_DIGEST,
        )  # fmt: skip
        notice = json.dumps({"clocks": [_write_clock(clock) for clock in clocks]})
        self.week.add(
            "messages",
            {
                "message_id": message_id, "sender": sender, "referral_id": referral_id, "revision": revision, "kind": kind,
                "conversation": f"conv-{referral_id}", "body_sha256": message_id.bytes * 2, "manifest_digest": f"{MARK}{number:039x}",
                "issued_at": at - timedelta(seconds=draw.randrange(1, 40)), "expires_at": at + timedelta(days=14), "received_at": at,
                "directory_version": 1, "event_id": event_id, "notice": notice.encode(), "body": b"",
            },
        )  # fmt: skip
        child = min(draw.randrange(self._referrals), draw.randrange(self._referrals))
        self.week.add("message_subjects", {"message_id": message_id, "tokens": [f"nhs|p1|{MARK}{child:06x}"]})
        self._keep_header(message_id, referral_id, sender, kind, at)
        for place, recipient in enumerate(recipients):
            self._deliver(message_id, referral_id, sender, place, recipient, at)
        for clock in clocks:
            self._run_clock(message_id, referral_id, clock)
        if draw.random() < 0.3:
            self._look(at + timedelta(hours=draw.randrange(1, 60)), "show", referral_id)
        return referral_id

    def _choose_recipients(self, sender: str, kind: str) -> list[str]:
        draw = self._draw
        schools = [draw.choice(SCHOOLS)] if kind == "ENCOMPASS" or draw.random() < 0.15 else []
        return [r for r in (*RECEIVERS, *schools) if r != sender][-draw.randint(1, 3) :]

    def _deliver(  # noqa: PLR0917 - what a delivery is made of
        self, message_id: UUID, referral_id: str, sender: str, place: int, recipient: str, at: datetime
    ) -> None:
        draw = self._draw
        delivery_id = f"dlv-{MARK}{message_id.hex[4:12]}-{place}"
        row = draw.choices(ROWS, ROW_WEIGHTS)[0]
        outcome = _OUTCOMES.get(row, "delivered")
        released = ["section-00000000000001"] if outcome == "delivered" else []
        event_id = self._log(
            "decided", at, message_id, referral_id=referral_id, sender=sender, delivery_id=delivery_id, recipient=recipient, outcome=outcome,
            row="" if row == "D4" else row, reason=f"Row {row} applies.", released=released, rest=_DIGEST, policy_digest=_DIGEST,
            inputs_digest=_DIGEST,
        )  # fmt: skip
        state, cut = {"held": "held", "withheld": "withheld"}.get(outcome, "open"), ""
        if outcome == "delivered":
            state, cut = self._acknowledge(message_id, sender, delivery_id, recipient, at)
        if outcome == "held":
            self._review(message_id, delivery_id, sender, at)
        role = _ROLES[recipient.partition(".")[0]]
        decision = {
            "delivery_id": delivery_id, "recipient": recipient, "role": role, "purpose": "safeguard_child", "outcome": outcome, "row": row,
            "reason": f"Row {row} applies.", "authority": "Children Act 2004 s.11", "policy_digest": "febc0e94cacc", "agreement": f"DSA-0{draw.randrange(1, 9)}",
            "compartments": self._decide_compartments(outcome, row),
        }  # fmt: skip
        self.week.add(
            "deliveries",
            {
                "message_id": message_id, "delivery_id": delivery_id, "number": place, "recipient": recipient, "role": role,
                "purpose": "safeguard_child", "outcome": outcome, "row": row, "reason": f"Row {row} applies.", "decision": json.dumps(decision),
                "released": released, "rest_salt": bytes(32), "event_id": event_id, "decided_at": at, "state": state,
            },
            state=cut or state,
        )  # fmt: skip

    def _decide_compartments(self, outcome: str, row: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in _COMPARTMENTS:
            if outcome == "delivered" and name != "C10" and self._draw.random() < 0.85:
                found[name] = {"result": "full", "row": row, "reason": "The matrix permits it."}
            elif outcome == "held":
                found[name] = {"result": "held", "row": row, "reason": "A source in confidence needs an approver."}
            else:
                found[name] = {
                    "result": "withheld",
                    "row": "D0",
                    "reason": "The matrix does not name it for this role.",
                }
        return found

    def _acknowledge(
        self, message_id: UUID, sender: str, delivery_id: str, recipient: str, at: datetime
    ) -> tuple[str, str]:
        """Add receipts; return the delivery's state, and its state at the week's end."""
        draw, previous, state, cut = self._draw, None, "open", "open"
        for following, minutes in (("accepted", 2), ("opened", 200), ("actioned", 600)):
            if draw.random() < (0.002 if following == "accepted" else 0.12):
                break
            at += timedelta(seconds=min(WEEK.total_seconds() / 4, draw.expovariate(1 / (60 * minutes))) // 1 + 1)
            refused = following == "actioned" and draw.random() < 0.06
            state = "refused" if refused else following
            digest = f"{MARK}{draw.getrandbits(156):039x}"
            event_id = self._log(
                "receipt", at, message_id, delivery_id=delivery_id, sender=sender, recipient=recipient, state=state, receipt_digest=digest,
                previous=previous, decision_leaf=_DIGEST,
            )  # fmt: skip
            row = {
                "receipt_digest": digest, "message_id": message_id, "delivery_id": delivery_id, "state": state, "previous": previous, "at": at,
                "received_at": at, "event_id": event_id, "notice": b"{}", "body": b"", "decision_leaf": _DIGEST,
                "reason_code": "threshold_not_met" if refused else None,
            }  # fmt: skip
            self.week.rows.setdefault("receipts", []).append(row)
            if at < self.week.ends_at:
                self.week.cut.setdefault("receipts", []).append(row)
                cut = state
            previous = digest
        return state, cut

    def _review(self, message_id: UUID, delivery_id: str, sender: str, at: datetime) -> None:
        draw = self._draw
        decided_at = at + timedelta(seconds=draw.randrange(3600, 30 * 3600))
        person, decided = f"p.person{draw.randrange(12):02d}", draw.random() < 0.98
        if decided:
            self._log("review", decided_at, message_id, delivery_id=delivery_id, action="refused", by=person)
        row = {
            "message_id": message_id, "delivery_id": delivery_id, "owner": sender, "row": "D12",
            "reason": "A source in confidence needs an approver.", "created_at": at, "deadline_at": at + timedelta(days=1),
            "state": "refused" if decided else "open", "decided_by": person if decided else None, "decided_at": decided_at if decided else None,
        }  # fmt: skip
        later = {"state": "open", "decided_by": None, "decided_at": None} if decided_at >= self.week.ends_at else {}
        self.week.add("holds", row, **later)

    def _start_clocks(self, at: datetime, kind: str, recipients: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {"clock": name, "starts_at": at, "due_at": at + timedelta(hours=24), "recipients": [recipients[0]]}
            for name in CLOCKS.get(kind, ())
        ]

    def _run_clock(self, message_id: UUID, referral_id: str, clock: dict[str, Any]) -> None:
        draw = self._draw
        start, due, recipient = clock["starts_at"], clock["due_at"], clock["recipients"][0]
        chance = draw.random()
        steps = [("met", start + timedelta(seconds=draw.randrange(1800, 86_000)))]
        if chance > 0.9:
            steps = [("breached", due)]
            if chance < 0.998:
                steps.append(("met_late", due + timedelta(seconds=draw.randrange(3600, 200_000))))
        stored: list[dict[str, Any]] = [{"state": "running", "changed_at": start, "breached_at": None, "met_at": None}]
        for state, at in steps:
            change = {
                "clock": clock["clock"], "recipient": recipient, "state": state, "at": at.isoformat(), "due_at": due.isoformat(),
            }  # fmt: skip
            self._log("clock", at, message_id, (due,), referral_id=referral_id, changes=[change], notice_sha256=_DIGEST)
            stored.append(
                {
                    "state": "breached" if state != "met" else "met",
                    "changed_at": at,
                    "breached_at": due if state != "met" else None,
                    "met_at": None if state == "breached" else at,
                }
            )
            if state == "breached":
                self._log(
                    "escalated", at, message_id, delivery_id=None, agency=recipient, clock=clock["clock"], roles=["csc"], notice_sha256=_DIGEST
                )  # fmt: skip
        happened = [row for row in stored if row["changed_at"] < self.week.ends_at]
        row = {
            "clock_id": write_id(self._events, draw.getrandbits(72)), "message_id": message_id, "clock": clock["clock"],
            "recipient": recipient, "starts_at": start, "due_at": due, **stored[-1],
        }  # fmt: skip
        self.week.add("clocks", row, **happened[-1])

    def _make_busy(self) -> None:
        """Add a matter with many revisions, at which many people look."""
        at = self.week.starts_at + timedelta(hours=1)
        revisions = min(BUSY_REVISIONS, self._referrals // 20)
        busy = self._refer(at, SENDERS[0], "CP_S47")
        for number in range(revisions):
            later = at + timedelta(minutes=90 * number + 1)
            self._refer(later, SENDERS[0], "UPDATE", of=busy, revision=number + 2)
        for number in range(min(BUSY_LOOKS, self._referrals // 5)):
            self._look(at + timedelta(minutes=20 * number + 2), "show", busy)

    def _look(self, at: datetime, action: str, subject: str) -> None:
        person = f"p.person{self._draw.randrange(PEOPLE):02d}"
        self._log("audit_read", at, None, by=person, action=action, subject=subject)

    def _look_around(self, at: datetime) -> None:
        """Add what belongs to no referral: searches, exports, sign-ins, messages that had no effect."""
        draw = self._draw
        person, chance = f"p.person{draw.randrange(PEOPLE):02d}", draw.random()
        if chance < 0.5:
            self._look(at, "search", f"agency={draw.choice(SENDERS)}")
        elif chance < 0.55:
            self._log("export", at, None, by=person, action="export_csv", subject=f"agency={draw.choice(SENDERS)}")
        elif chance < 0.9:
            outcome = "signed_in" if draw.random() < 0.95 else "wrong_code"
            self._log("console_login", at, None, by=person, outcome=outcome)
        else:
            kind, code = draw.choice(
                (("rejected", "malformed"), ("quarantined", "unreadable"), ("security", "signature-invalid"))
            )
            self._log(
                kind, at, None, claimed_id=f"claimed-{self._events}", sender=draw.choice(SENDERS), body_sha256=_DIGEST, code=code, notice_sha256=_DIGEST
            )  # fmt: skip

    def _keep_header(self, message_id: UUID, referral_id: str, sender: str, kind: str, at: datetime) -> None:
        draw = self._draw
        embargoed = kind == "ONLINE_CSA"
        self.week.kept.append(
            ReferralFact(
                message_id, referral_id, f"conv-{referral_id}", sender, kind, at, area=draw.choices(AREAS, _AREA_OF)[0],
                event=draw.choice(("open", "update", "found")) if kind == "MISSING" else "", header_known=True,
                grade=draw.choice(("low", "medium", "high")), tool=draw.choice(("DASH 2009", "MARCH-CHILD 2.1", "")),
                assessed_at=at - timedelta(hours=draw.randrange(1, 90)), review_due_at=at + timedelta(hours=draw.randrange(-20, 200)),
                incident_at=at - timedelta(seconds=draw.expovariate(1 / 36_000) // 1), art6=draw.choice(("c", "c", "c", "e")),
                consent=draw.choice(("not_sought", "given", "refused")), tell=draw.choice(("tell", "told", "do_not_tell")), children=True,
                persons=True, heard=draw.random() < 0.7, flags=tuple(flag for flag in FLAGS if draw.random() < 0.1),
                embargo_set_at=at if embargoed else None,
            )
        )  # fmt: skip

    def _log(
        self, kind: str, at: datetime, message_id: UUID | None, more: tuple[datetime, ...] = (), /, **members: Any
    ) -> UUID:
        event_id = write_id(self._events, self._draw.getrandbits(72))
        self._events += 1
        about = {} if message_id is None else {"message_id": str(message_id)}
        event = write_event(kind, {"at": at.isoformat(), **about, **members})
        self.week.events.append(WeekEvent(event_id, kind, at, event, (at, *more), message_id))
        return event_id


def _write_clock(clock: dict[str, Any]) -> dict[str, Any]:
    return {**clock, "starts_at": clock["starts_at"].isoformat(), "due_at": clock["due_at"].isoformat()}
