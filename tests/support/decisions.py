"""What decision tests share: the engine over the samples' directory, and decisions laid side by side."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from broker.decisions import DecisionEngine, PolicyPack, load_pack
from broker.decisions.pack import build_pack
from deploy.authority.partnership import PartnershipFile, load_partnership
from schemas.decision import SENT, Decision
from schemas.directory import Directory
from tests.support.oracle import Expected
from tests.support.random_headers import Drawn

SAMPLES = Path(__file__).parents[2] / "deploy" / "local" / "samples"
WIDTH = {"full": 3, "summary": 2, "pointer": 1}


@cache
def _sample_partnership() -> PartnershipFile:
    return load_partnership(SAMPLES / "partnership.yaml")


def make_directory(**changes: Any) -> Directory:
    """Return a directory of the sample partnership, with parts replaced by ``changes``."""
    return Directory(
        version=1,
        issued_at=datetime(2026, 11, 1, tzinfo=UTC),
        expires_at=datetime(2027, 11, 1, tzinfo=UTC),
        **{**dict(_sample_partnership()), **changes},
    )


@cache
def default_pack() -> PolicyPack:
    """Return the national pack, loaded once."""
    return load_pack()


def make_engine(**changes: Any) -> DecisionEngine:
    """Return an engine under the national pack and the sample directory."""
    return DecisionEngine(default_pack(), make_directory(**changes))


def change_pack(policy_text: str) -> PolicyPack:
    """Return the national pack with other policies.

    Raises:
        ConfigInvalid: they are not valid.
    """
    pack = default_pack()
    return build_pack(
        schema_text=pack.schema_text,
        policy_text=policy_text,
        about=pack.about,
        matrix=pack.matrix,
        purposes=pack.purposes,
        clock_rules=pack.clock_rules,
        digest="changed",
    )


def decide_drawn(engine: DecisionEngine, drawn: Drawn) -> Decision:
    """Decide a generated header's one delivery."""
    return engine.decide(
        drawn.header, drawn.header.deliveries[0], sender=drawn.sender, registers=drawn.registers, now=drawn.now
    )


def lay_out(decision: Decision) -> dict[str, Any]:
    """Return a decision in the oracle's terms."""
    return {
        "outcome": decision.outcome.value,
        "row": decision.row,
        "compartments": {c.value: (d.result.value, d.row) for c, d in decision.compartments.items()},
        "queue": decision.queue,
        "deliver_to": decision.deliver_to,
        "agreement": decision.agreement,
        "alerts": sorted(decision.alerts),
        "emits": list(decision.emits),
        "review": decision.retrospective_review,
        "subjects": decision.subjects,
    }


def lay_out_expected(expected: Expected) -> dict[str, Any]:
    """Return the oracle's answer in the same terms."""
    return {**vars(expected), "alerts": sorted(expected.alerts)}


def is_no_wider(narrow: Decision, wide: Decision) -> bool:
    """Return whether ``narrow`` releases no compartment, form or subject that ``wide`` does not."""
    limits = {c: WIDTH[d.result.value] for c, d in wide.compartments.items() if d.result in SENT}
    sent = {c: WIDTH[d.result.value] for c, d in narrow.compartments.items() if d.result in SENT}
    return all(width <= limits.get(c, 0) for c, width in sent.items()) and set(narrow.subjects) <= set(wide.subjects)
