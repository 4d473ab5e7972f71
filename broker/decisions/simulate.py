"""Rehearses a changed pack: decides the same inputs under both, and says what would change and for whom, before it is activated."""

from collections.abc import Iterable
from dataclasses import dataclass

from broker.decisions.engine import DecisionEngine
from broker.decisions.facts import DecisionFacts
from broker.decisions.header_facts import build_facts
from broker.decisions.registers import Registers
from schemas.codes import Compartment
from schemas.decision import SENT, CompartmentDecision, Decision
from schemas.header import RoutingHeader


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """What one past decision rested on: a name for people, and the facts under each pack (kinds that follow another may differ)."""

    name: str
    before: DecisionFacts
    after: DecisionFacts


@dataclass(frozen=True, slots=True)
class Change:
    """One input that the new pack would decide otherwise, and each difference in words."""

    name: str
    before: Decision
    after: Decision
    differences: tuple[str, ...]

    @property
    def widens(self) -> bool:
        """Whether anything would go that does not go now, or in a wider form."""
        forms = ("pointer", "summary", "full")
        for code, found in self.after.compartments.items():
            old = self.before.compartments.get(code)
            if found.result in SENT and (
                old is None or old.result not in SENT or forms.index(old.result.value) < forms.index(found.result.value)
            ):
                return True
        return not set(self.after.subjects) <= set(self.before.subjects)


def record_header(
    name: str,
    header: RoutingHeader,
    *,
    sender: str,
    registers: Registers,
    decided: Decision,
    engines: tuple[DecisionEngine, DecisionEngine],
) -> RecordedInput | None:
    """Return the recorded input of one past decision of ``header``, as of when it was decided; none if it does not say when."""
    delivery = next((d for d in header.deliveries if d.delivery_id == decided.delivery_id), None)
    if delivery is None or decided.decided_at is None:
        return None
    before, after = (
        build_facts(
            header,
            delivery,
            sender=sender,
            registers=registers,
            directory=engine.directory,
            pack=engine.pack,
            now=decided.decided_at,
        )
        for engine in engines
    )
    return RecordedInput(name, before, after)


def simulate(inputs: Iterable[RecordedInput], now: DecisionEngine, new: DecisionEngine) -> list[Change]:
    """Return what ``new`` would decide otherwise than ``now``, in the order of the inputs."""
    changes = []
    for one in inputs:
        before, after = now.decide_facts(one.before), new.decide_facts(one.after)
        differences = tuple(list_differences(before, after))
        if differences:
            changes.append(Change(one.name, before, after, differences))
    return changes


def list_differences(before: Decision, after: Decision) -> list[str]:
    """Return each difference between two decisions in words; digests and instants do not count."""
    found = [
        f"{name.replace('_', ' ')}: {_say(getattr(before, name))} → {_say(getattr(after, name))}"
        for name in (
            "outcome",
            "row",
            "policy",
            "deliver_to",
            "queue",
            "alerts",
            "emits",
            "retrospective_review",
            "subjects",
        )
        if getattr(before, name) != getattr(after, name)
    ]
    for code in Compartment:
        old, fresh = before.compartments.get(code), after.compartments.get(code)
        if _say_compartment(old) != _say_compartment(fresh):
            found.append(f"{code.value}: {_say_compartment(old)} → {_say_compartment(fresh)}")
    return found


def _say(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(one) for one in value) or "none"
    return str(getattr(value, "value", value))


def _say_compartment(found: CompartmentDecision | None) -> str:
    return f"{found.result.value} ({found.row})" if found else "absent"
