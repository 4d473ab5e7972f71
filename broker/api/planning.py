"""A plan: who would get what of a referral, and why, decided exactly as the worker would decide it now. Nothing is stored and nothing is sent."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from broker.registry import DirectorySnapshot
from schemas.decision import Decision
from schemas.errors import MalformedMessage
from schemas.header import RoutingHeader
from schemas.validation import name_first_fault

if TYPE_CHECKING:
    from broker.decisions import Registers

MAX_DELIVERIES = 256


class Engine(Protocol):
    """What decides: ``broker.decisions.DecisionEngine`` for one pack and one directory."""

    def decide_all(
        self, header: RoutingHeader, *, sender: str, registers: "Registers", now: datetime
    ) -> Sequence[Decision]:
        """Decide every delivery of ``header``, in its order."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Decisions in the order of the header's deliveries, and what they rest on."""

    decisions: tuple[Decision, ...]
    policy_digest: str
    directory_version: int
    as_of: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the response body."""
        return {
            "decisions": [decision.to_json() for decision in self.decisions],
            "policy_digest": self.policy_digest,
            "directory_version": self.directory_version,
            "as_of": self.as_of.isoformat(),
        }


ReadRegisters = Callable[[RoutingHeader, str], Awaitable["Registers"]]
"""``(header, sender)`` to what the registers hold for it: approvals, consents, tokens."""


class Planner:
    """Decides without effect, with the engine that the worker would use for the same directory."""

    def __init__(
        self,
        engine_for: Callable[[DirectorySnapshot], Engine],
        clock: Callable[[], datetime],
        read_registers: ReadRegisters,
    ) -> None:
        """Take how to find a directory's engine (``PackShelf.engine_for``), the business clock, and how to read the registers."""
        self.engine_for = engine_for
        self.clock = clock
        self.read_registers = read_registers

    async def plan(self, header: RoutingHeader, sender: str, snapshot: DirectorySnapshot) -> Plan:
        """Decide every requested delivery of ``header`` as ``sender``'s.

        Raises:
            PolicyNotHeld: the pack that the directory names is not here.
        """
        now = self.clock()
        engine = self.engine_for(snapshot)
        registers = await self.read_registers(header, sender)
        decisions = tuple(engine.decide_all(header, sender=sender, registers=registers, now=now))
        digest = decisions[0].policy_digest if decisions else snapshot.directory.policy_digest
        return Plan(decisions, digest, snapshot.version, now)


def read_header(value: Any) -> RoutingHeader:
    """Read the routing header of a plan request.

    Raises:
        MalformedMessage: it is not of the form, or asks for too many deliveries.
    """
    try:
        header = RoutingHeader.model_validate(value)
    except ValidationError as error:
        path = name_first_fault(error)
        raise MalformedMessage("is not of the form", field=f"header.{path}") from None
    if len(header.deliveries) > MAX_DELIVERIES:
        raise MalformedMessage(f"asks for more than {MAX_DELIVERIES} deliveries", field="header.deliveries")
    return header
