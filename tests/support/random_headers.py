# ruff: noqa: SIM905 - generated cases, not secrets
"""Generated routing headers and registers for decision tests: every fact varies, and those that interact vary together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from broker.decisions.registers import Approval, Registers
from schemas.codes import Compartment
from schemas.directory import Directory
from schemas.header import BreakGlassClaim, DetrimentDecision, DisclosureToken, RoutingHeader

T = TypeVar("T")
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
KINDS = [
    "CP_S47", "CIN_S17", "PPN", "MARF", "POLICE_PROTECTION", "MISSING", "ENCOMPASS", "DA_MARAC", "ONLINE_CSA", "RSO_MAPPA", "FGM",
    "CSA_MANDATORY", "PREVENT", "EXPLOITATION", "S136", "UPDATE", "CORRECTION", "OUTCOME", "REQUEST", "CHILD_SAFETY_ALERT",
]  # fmt: skip
# Routes that exist, so that most headers pass the agreement and reach the rows and compartments.
ROUTES = [
    ("CP_S47", "csc.marchshire", "csc", "safeguard_child"),
    ("CP_S47", "health.marchshire-ft", "health_safeguarding", "safeguard_child"),
    ("CP_S47", "gp.millbrook", "gp", "safeguard_child"),
    ("CP_S47", "school.oakfield", "dsl", "safeguard_child"),
    ("CP_S47", "school.st-hilda", "dsl", "safeguard_child"),
    ("CIN_S17", "csc.marchshire", "csc", "promote_welfare"),
    ("CIN_S17", "earlyhelp.marchshire", "early_help", "early_help_service"),
    ("PPN", "csc.marchshire", "csc", "promote_welfare"),
    ("PPN", "idva.safehaven", "idva", "idva_support"),
    ("MARF", "csc.marchshire", "csc", "promote_welfare"),
    ("POLICE_PROTECTION", "csc.marchshire", "csc", "safeguard_child"),
    ("POLICE_PROTECTION", "health.marchshire-ft", "health_safeguarding", "safeguard_child"),
    ("MISSING", "csc.northmarch", "csc", "safeguard_child"),
    ("MISSING", "home.larchwood", "carer", "safeguard_child"),
    ("MISSING", "rhi.returnhome", "return_interview", "return_interview"),
    ("MISSING", "school.st-hilda", "dsl", "safeguard_child"),
    ("ENCOMPASS", "school.st-hilda", "dsl", "school_support"),
    ("ENCOMPASS", "education.marchshire", "la_education", "school_support"),
    ("DA_MARAC", "csc.marchshire", "csc", "safeguard_child"),
    ("DA_MARAC", "idva.safehaven", "idva", "safeguard_victim"),
    ("DA_MARAC", "idva.safehaven", "idva", "idva_support"),
    ("ONLINE_CSA", "csc.marchshire", "csc_named", "safeguard_child"),
    ("ONLINE_CSA", "health.marchshire-ft", "health_safeguarding", "safeguard_child"),
    ("ONLINE_CSA", "school.st-hilda", "dsl", "safeguard_child"),
    ("RSO_MAPPA", "csc.marchshire", "csc", "public_protection"),
    ("RSO_MAPPA", "probation.marchshire", "mappa", "public_protection"),
    ("RSO_MAPPA", "school.oakfield", "dsl", "public_protection"),
    ("RSO_MAPPA", "school.st-hilda", "dsl", "public_protection"),
    ("FGM", "police.marchshire", "police", "safeguard_child"),
    ("FGM", "csc.marchshire", "csc", "safeguard_child"),
    ("CSA_MANDATORY", "csc.marchshire", "csc", "safeguard_child"),
    ("CSA_MANDATORY", "police.marchshire", "police", "safeguard_child"),
    ("PREVENT", "channel.marchshire", "channel", "prevent_referral"),
    ("PREVENT", "channel.marchshire", "channel", "channel_support"),
    ("EXPLOITATION", "csc.marchshire", "csc_mace", "safeguard_child"),
    ("EXPLOITATION", "rhi.returnhome", "return_interview", "return_interview"),
    ("EXPLOITATION", "home.larchwood", "carer", "safeguard_child"),
    ("EXPLOITATION", "health.marchshire-ft", "health_safeguarding", "safeguard_child"),
    ("S136", "health.marchshire-ft", "mental_health", "health_care"),
    ("S136", "csc.marchshire", "csc", "promote_welfare"),
    ("OUTCOME", "csc.marchshire", "csc", "promote_welfare"),
    ("REQUEST", "health.marchshire-ft", "health_safeguarding", "promote_welfare"),
    ("REQUEST", "school.st-hilda", "dsl", "promote_welfare"),
]
PURPOSES = [
    "safeguard_child", "promote_welfare", "early_help_service", "idva_support", "channel_support", "return_interview", "school_support",
    "public_protection", "immigration_enforcement", "local_01",
]  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """One generated input of a decision."""

    header: RoutingHeader
    sender: str
    registers: Registers
    now: datetime


def draw(random: Random, directory: Directory) -> Drawn:
    """Return a header with one delivery, from an agency, with registers and an instant."""
    kind, agency, role, purpose = random.choice(ROUTES)
    if random.random() < 0.15:
        agency, role = _draw_stranger(random, directory)
    if random.random() < 0.06:
        purpose = random.choice(PURPOSES)
    if random.random() < 0.06:
        kind = random.choice(KINDS)
    original = None
    if random.random() < 0.08:
        kind, original = random.choice(["UPDATE", "CORRECTION"]), random.choice([kind, kind, None])
    others = [
        "health.marchshire-ft",
        "school.oakfield",
        "school.st-hilda",
        "gp.millbrook",
        "idva.safehaven",
        "csc.marchshire",
    ]
    sender = random.choice(["police.marchshire"] * 15 + others)
    now = NOW + timedelta(days=random.choice([0] * 12 + [200, 500, -60]))
    contacts = [c.id for a in directory.agencies if a.id == agency for c in a.contacts]
    header = {
        "case": {
            "kind": kind,
            "original_kind": original,
            "area": "E10999001",
        },
        "risk": {
            "grade": random.choice(["not_assessed", "no_apparent_risk", "low", "standard", "medium", "medium", "high"]),
            "immediate_danger": random.random() < 0.1,
        },
        "lawful_basis": {"art6": random.choice("c c c c c c c c c c d a e ea f".split())},
        "policy": _draw_policy(random, agency, contacts, now),
        "subjects": [
            {
                "subject_id": f"subject-{n:014}",
                "type": "person",
                "age_band": random.choice(["unborn", "0-4", "10-12", "16-17", "adult"]),
            }
            for n in range(random.choice([1, 1, 2, 3]))
        ]
        + ([{"subject_id": "place-0000000000000001", "type": "place"}] if random.random() < 0.1 else []),
        "routing": [
            {
                "subject_id": "subject-00000000000000",
                "tied_agencies": [agency] if random.random() < 0.6 and ":" not in agency else [],
            }
        ],
        "deliveries": [
            {
                "delivery_id": "delivery-0000000000001",
                "agency": agency,
                "role": role,
                "purpose": purpose,
                "contact": random.choice([*contacts, "nobody"]) if random.random() < 0.1 else None,
            }
        ],
    }
    return Drawn(RoutingHeader.model_validate(header), sender, _draw_registers(random, agency, role, now), now)


def _draw_stranger(random: Random, directory: Directory) -> tuple[str, str]:
    """Return a recipient and role that need not belong together, or that nobody knows."""
    agency = random.choice(directory.agencies)
    if random.random() < 0.3:
        return "unresolved:ods:Z99777", "gp"
    roles = [role for a in directory.agencies for role in a.roles]
    return agency.id, random.choice([*agency.roles, *agency.roles, random.choice(roles)])


def _draw_policy(random: Random, agency: str, contacts: Sequence[str], now: datetime) -> dict[str, Any]:
    codes = [c.value for c in Compartment]
    present = codes if random.random() < 0.5 else sorted(random.sample(codes, random.randint(1, 12)))
    policy: dict[str, Any] = {
        "compartments": present,
        "consent": _draw_consent(random, agency, now),
        "tell_status": {"value": "tell", "parties": [agency] if random.random() < 0.03 and ":" not in agency else []},
    }
    if random.random() < 0.12:
        chosen = random.sample([*contacts, None], random.randint(1, min(2, len(contacts) + 1)))
        policy["conflicts"] = [
            {"agency": random.choice([agency, agency, "csc.northmarch"]), "contact": c} for c in chosen
        ]
    if random.random() < 0.15:
        names = [f"{agency}#{c}" for c in contacts] + ["csc.marchshire#strategy-lead"]
        policy["embargo"] = {
            "active": random.random() < 0.8,
            "named": random.sample(names, random.randint(0, len(names))) if ":" not in agency else [],
            "set_at": (now - timedelta(hours=random.choice([2, 60]))).isoformat(),
            "review_due_at": random.choice([None, _near(random, now)]),
            "lifted_at": random.choice([None, None, _near(random, now)]),
        }
    if random.random() < 0.2:
        policy["tokens"] = [_draw_token(random, agency, now)]
    if random.random() < 0.15:
        policy["bars"] = [
            {
                "law_code": "CA 1989 s.8",
                "compartments": random.sample(codes, 2),
                "recipients": random.choice([[], [agency], ["gp.millbrook"]]),
            }
        ]
    if random.random() < 0.2:
        policy["clinical_confidence"] = {
            "age": random.choice([11, 12, 13, 15]),
            **{name: random.random() < 0.6 for name in ("competent", "refused", "sexual_activity")},
            "harm_indicators": random.random() < 0.2,
        }
    if random.random() < 0.2:
        policy["break_glass"] = {
            "by": random.choice([None, "person-1", "person-1"]),
            "reason_given": random.random() < 0.7,
        }
    if random.random() < 0.12:
        policy["detriment"] = {
            "recipients": [random.choice([agency, agency, "csc.marchshire"])],
            "decided_by": random.choice([None, "person-2", "person-2"]),
            "reason_given": random.random() < 0.7,
        }
    if random.random() < 0.5:
        policy["statutory_task"] = "CA 1989 s.47"
    return policy


def _draw_consent(random: Random, agency: str, now: datetime) -> dict[str, Any]:
    state = random.choice(["given"] * 6 + ["refused", "not_sought", "withdrawn", "expired", "invalid", "not_recorded"])
    consent: dict[str, Any] = {
        "state": state,
        "giver": random.choice(
            ["adult_subject", "parent_pr_holder", "parent_pr_holder", "child", "child", "suspected_perpetrator", None]
        ),
        "giver_age": random.choice([None, 12, 15, 16, 17]),
        "gillick_competent": random.choice([None, True, True, False]),
        "assessor_named": random.random() < 0.6,
        "giver_suspected": random.random() < 0.08,
        "child_competent_refusal": random.random() < 0.12,
        "given_at": random.choice(
            [None, (now - timedelta(days=9)).isoformat(), (now - timedelta(days=9)).isoformat(), _near(random, now)]
        ),
        "expires_at": random.choice([None, None, (now + timedelta(days=90)).isoformat(), _near(random, now)]),
        "withdrawn_at": random.choice([None, None, None, None, _near(random, now)]),
    }
    if random.random() < 0.25:
        scope: dict[str, Any] = {}
        if random.random() < 0.5:
            scope["compartments"] = random.sample([c.value for c in Compartment], random.randint(0, 8))
        if random.random() < 0.4 and ":" not in agency:
            scope["recipients"] = [random.choice([agency, "gp.millbrook"])]
        if random.random() < 0.2:
            scope["purposes"] = [random.choice(["early_help_service", "idva_support"])]
        if random.random() < 0.2:
            scope["kinds"] = [random.choice(["CIN_S17", "PPN"])]
        consent["scope"] = scope
    return consent


def _draw_token(random: Random, agency: str, now: datetime) -> dict[str, Any]:
    return {
        "scheme": "MAPPA",
        "ref": random.choice(["e1" * 32, "e2" * 32]),
        "recipient": random.choice([agency, agency, agency, "gp.millbrook"]),
        "expires_at": random.choice([None, (now + timedelta(days=3)).isoformat(), _near(random, now)]),
    }


def _draw_registers(random: Random, agency: str, role: str, now: datetime) -> Registers:
    registers = Registers()
    if random.random() < 0.3:
        registers = replace(
            registers, approvals=tuple(_draw_approval(random, agency, role, now) for _ in range(random.randint(1, 4)))
        )
    if random.random() < 0.1:
        registers = replace(registers, used_tokens=frozenset({("MAPPA", "e1" * 32)}))
    if random.random() < 0.05:
        registers = replace(registers, tokens=(DisclosureToken.model_validate(_draw_token(random, agency, now)),))
    if random.random() < 0.05:
        registers = replace(registers, embargo_lifted_at=now + random.choice([timedelta(0), timedelta(hours=1)]))
    if random.random() < 0.05:
        registers = replace(registers, embargo_reviewed_at=now - timedelta(hours=random.choice([1, 30])))
    if random.random() < 0.05 and ":" not in agency:
        registers = replace(registers, embargo_named=(f"{agency}#{role}", f"{agency}#dsl", f"{agency}#mash-duty"))
    if random.random() < 0.05:
        registers = replace(registers, break_glass=BreakGlassClaim(by="person-3", reason_given=True))
    if random.random() < 0.03:
        registers = replace(
            registers, detriment=DetrimentDecision(recipients=("csc.marchshire",), decided_by="p", reason_given=True)
        )
    return registers


def _draw_approval(random: Random, agency: str, role: str, now: datetime) -> Approval:
    return Approval(
        by=random.choice(["person-4", "person-4", "person-5", " "]),
        reason_given=random.random() < 0.85,
        recipient=random.choice([None, agency, agency, "gp.millbrook"]),
        role=random.choice([None, role, "gp"]),
        compartment=random.choice([None, None, "C01", "C02", "C09", "C10", "C11", "C12", "C12", "C14", "C15"]),
        requested_by=random.choice([None, None, "person-5"]),
        approved_at=random.choice([None, now, now + timedelta(hours=1)]),
        expires_at=random.choice([None, None, now, now + timedelta(hours=1)]),
    )


def _near(random: Random, now: datetime) -> str:
    """Return an instant around ``now``, the very instant included."""
    return (
        now + random.choice([timedelta(0), timedelta(seconds=1), timedelta(seconds=-1), timedelta(days=3)])
    ).isoformat()
