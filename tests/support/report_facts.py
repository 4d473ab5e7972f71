"""Facts of a made-up county's referrals, counted by the product's own functions: for query plans and the bench. The same seed gives the same county."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from broker.reports.cell_store import add_counts
from broker.reports.counting import Counts, count_clock, count_delivery, count_event, count_referral
from broker.reports.facts import ClockFact, DeliveryFact, ReferralFact

AREAS = ("E10000001", "E10000002", "E10000003")
SENDERS = ("police.one", "police.two", "health.one", "school.one")
KINDS = (
    "PPN",
    "ENCOMPASS",
    "MISSING",
    "CP_S47",
    "CIN_S17",
    "MARF",
    "DA_MARAC",
    "ONLINE_CSA",
    "RSO_MAPPA",
    "OUTCOME",
    "UPDATE",
    "CORRECTION",
)
KIND_WEIGHTS = (30, 20, 12, 10, 8, 6, 3, 1, 1, 5, 3, 1)
SCHOOLS = tuple(f"school.s{number:03}" for number in range(180))
CLOCKS = {
    "PPN": ("mash_triage", "referrer_chase"),
    "ENCOMPASS": ("encompass_delivery",),
    "MISSING": ("risk_review",),
    "CP_S47": ("la_acknowledgement", "strategy_discussion"),
    "CIN_S17": ("la_acknowledgement", "assessment_s17"),
    "MARF": ("mash_triage", "referrer_chase"),
    "ONLINE_CSA": ("embargo_review",),
}
FLAGS = (
    "voice_absent",
    "ethnicity_ns_avoidable",
    "ethnicity_not_recorded",
    "risk_rationale_missing",
    "supervisor_check_absent",
    "nhs_number_absent",
)
COMPARTMENTS = tuple(f"C{number:02}" for number in range(1, 18))
EVENTS_A_REFERRAL = 10
"""Accepted, three decisions, five receipts and a clock, roughly: what the events of a real hub come to for each referral."""


class ReportCounty:
    """Makes facts day by day."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a made-up county
        self._next = 0

    def make_referral(self, day: date) -> tuple[ReferralFact, list[DeliveryFact], list[ClockFact]]:
        rng = self._rng
        self._next += 1
        kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=rng.randrange(1440))
        fact = ReferralFact(
            UUID(int=self._next), f"ref-{self._next}", f"conv-{self._next}", rng.choices(SENDERS, (60, 25, 10, 5))[0], kind, at,
            area=rng.choice(AREAS), event=rng.choice(("open", "update", "found")) if kind == "MISSING" else "", header_known=True,
            issued_at=at - timedelta(seconds=rng.randrange(60)), grade=rng.choice(("low", "medium", "high")), tool=rng.choice(("DASH 2009", "MARCH-CHILD 2.1", "")),
            assessed_at=at - timedelta(hours=rng.randrange(1, 90)), review_due_at=at + timedelta(hours=rng.randrange(-20, 200)),
            incident_at=at - timedelta(minutes=int(rng.expovariate(1 / 600))), art6=rng.choice(("c", "c", "c", "e")),
            consent=rng.choice(("not_sought", "given", "refused")), tell=rng.choice(("tell", "told", "do_not_tell")), children=True, persons=True,
            heard=rng.random() < 0.7, flags=tuple(flag for flag in FLAGS if rng.random() < 0.1), repeat=rng.choice(("first", "first", "within_3", "later")),
            routed=rng.choice(("school", "school", "no_school", "unmatched")) if kind == "ENCOMPASS" else "",
            rso_child=rng.choice(("shared", "no_child")) if kind == "RSO_MAPPA" else "",
            embargo_set_at=at if kind == "ONLINE_CSA" else None, embargo_lifted_at=at + timedelta(days=3) if kind == "ONLINE_CSA" and rng.random() < 0.99 else None,
        )  # fmt: skip
        recipients = [("csc.one", "csc"), ("health.one", "health_safeguarding"), (rng.choice(SCHOOLS), "dsl")]
        deliveries = [
            self._make_delivery(fact, number, who) for number, who in enumerate(recipients[: rng.randrange(1, 4)])
        ]
        clocks = [self._make_clock(fact, clock) for clock in CLOCKS.get(kind, ())]
        return fact, deliveries, clocks

    def _make_delivery(self, fact: ReferralFact, number: int, who: tuple[str, str]) -> DeliveryFact:
        rng = self._rng
        row = rng.choice(("D3", "D4", "D5", "D6", "D7"))
        outcome = {"D6": "held", "D7": "withheld"}.get(row, "delivered")
        released = fact.accepted_at if outcome == "delivered" else None
        taken = fact.accepted_at + timedelta(minutes=rng.randrange(1, 9)) if released and rng.random() < 0.999 else None
        opened = taken + timedelta(minutes=int(rng.expovariate(1 / 240))) if taken and rng.random() < 0.998 else None
        return DeliveryFact(
            fact.message_id, f"d{number}", fact.kind, fact.area, fact.sender, fact.accepted_at, *who, "safeguard_child", outcome, row, outcome, row,
            policy_digest="febc0e94cacc", agreement=f"DSA-0{rng.randrange(1, 9)}", compartments=tuple((c, rng.choice(("sent", "sent", "withheld:D0"))) for c in COMPARTMENTS),
            strategy_due_at=fact.accepted_at + timedelta(days=1) if fact.kind == "CP_S47" else None, released_at=released, taken_at=taken, opened_at=opened,
            actioned_at=opened + timedelta(minutes=int(rng.expovariate(1 / 900))) if opened and rng.random() < 0.6 else None,
            hold="released" if outcome == "held" else "", held_at=fact.accepted_at if outcome == "held" else None, hold_ended_at=fact.accepted_at + timedelta(hours=5) if outcome == "held" else None,
        )  # fmt: skip

    def _make_clock(self, fact: ReferralFact, clock: str) -> ClockFact:
        due = fact.accepted_at + timedelta(hours=24)
        chance = self._rng.random()
        if chance < 0.9:
            state, breached, met = "met", None, due - timedelta(hours=3)
        elif chance < 0.999:
            state, breached, met = "met_late", due, due + timedelta(hours=30)
        else:
            state, breached, met = "breached", due, None
        return ClockFact(
            fact.message_id,
            clock,
            "csc.one",
            fact.kind,
            fact.area,
            fact.accepted_at,
            fact.accepted_at,
            due,
            state,
            breached,
            met,
        )


async def fill_reports(
    connection: asyncpg.Connection, first: date, days: int, referrals_a_day: int, *, seed: int = 1
) -> Counts:
    """Fill facts and counts of so many days, and return the counts: those that the projection would keep."""
    county = ReportCounty(seed)
    counts: Counts = Counter()
    for number in range(days):
        day = first + timedelta(days=number)
        facts = [county.make_referral(day) for _ in range(referrals_a_day)]
        for fact, deliveries, clocks in facts:
            counts.update(count_referral(fact))
            for delivery in deliveries:
                counts.update(count_delivery(delivery))
            for clock in clocks:
                counts.update(count_clock(clock))
            counts[count_event("log", fact.accepted_at, code="accepted")] += EVENTS_A_REFERRAL
        counts[
            count_event(
                "access",
                datetime(day.year, day.month, day.day, 9, tzinfo=UTC),
                agency="ann",
                code="audit_read:search",
                within="office_hours",
            )
        ] += 7
        await _copy_facts(connection, facts)
    await add_counts(connection, counts)
    await connection.execute("ANALYZE")
    return counts


async def _copy_facts(
    connection: asyncpg.Connection, facts: list[tuple[ReferralFact, list[DeliveryFact], list[ClockFact]]]
) -> None:
    await _copy(connection, "report_referrals", [fact for fact, _, _ in facts])
    await _copy(connection, "report_deliveries", [d for _, deliveries, _ in facts for d in deliveries])
    await _copy(connection, "report_clocks", [c for _, _, clocks in facts for c in clocks])


async def _copy(connection: asyncpg.Connection, table: str, facts: list[Any]) -> None:
    if not facts:
        return
    names = [f.name for f in fields(facts[0])]
    derived = ["reached"] if table == "report_deliveries" else []
    records = [(*_plain(fact), *(getattr(fact, name) for name in derived), True) for fact in facts]
    await connection.copy_records_to_table(table, columns=[*names, *derived, "counted"], records=records)


def _plain(fact: Any) -> Iterator[Any]:
    for f, value in zip(fields(fact), astuple(fact), strict=True):
        if f.name == "compartments":
            yield [f"{name}={result}" for name, result in value]
        else:
            yield list(value) if isinstance(value, tuple) else value
