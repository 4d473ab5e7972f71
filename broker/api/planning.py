"""A plan: who would get what of a referral, and why, decided exactly as the worker would decide it now. Nothing is stored and nothing is sent."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from broker.registry import DirectorySnapshot
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.errors import IntegrityBroken, MalformedMessage
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


class PolicyMismatch(IntegrityBroken):
    """The hub's policy pack is not the one that the authority's directory names."""

    code = "policy-mismatch"
    public_message = "The hub's policies are not those that the officers signed. Call the hub's operator."


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
    """Decides without effect. One engine for each directory version."""

    def __init__(
        self,
        policy_digest: str,
        make_engine: Callable[[Directory], Engine],
        clock: Callable[[], datetime],
        read_registers: ReadRegisters,
    ) -> None:
        """Take our policy pack's digest, how to make its engine for a directory, the business clock, and how to read the registers."""
        self.policy_digest = policy_digest
        self.make_engine = make_engine
        self.clock = clock
        self.read_registers = read_registers
        self._engine: tuple[int, Engine] | None = None

    async def plan(self, header: RoutingHeader, sender: str, snapshot: DirectorySnapshot) -> Plan:
        """Decide every requested delivery of ``header`` as ``sender``'s.

        Raises:
            PolicyMismatch: our pack is not the signed one.
        """
        now = self.clock()
        engine = self.engine_for(snapshot)
        registers = await self.read_registers(header, sender)
        decisions = engine.decide_all(header, sender=sender, registers=registers, now=now)
        return Plan(tuple(decisions), self.policy_digest, snapshot.version, now)

    def engine_for(self, snapshot: DirectorySnapshot) -> Engine:
        """Return the engine for a directory version.

        Raises:
            PolicyMismatch: the version names another policy pack.
        """
        if snapshot.directory.policy_digest != self.policy_digest:
            raise PolicyMismatch(field="policy_digest")
        if self._engine is None or self._engine[0] != snapshot.version:
            self._engine = (snapshot.version, self.make_engine(snapshot.directory))
        return self._engine[1]


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
