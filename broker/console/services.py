"""What the console offers through other roles than its own, where its machine holds their credentials: evidence packs, and rehearsals of policy.

Both read sealed envelopes, which the console's own role may not. ``deploy`` gives them; without them the pages show the commands instead.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from broker.decisions.simulate import Change


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a lodged pack would have decided otherwise, among the last decisions that could be read back."""

    decided: int
    unreadable: int
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """``export_evidence(id, by)`` returns a ZIP, having logged the export; ``rehearse(body, last)`` decides the last decisions again by a lodged pack."""

    export_evidence: Callable[[str, str], Awaitable[bytes]] | None = None
    rehearse: Callable[[bytes, int], Awaitable[Rehearsal]] | None = None


NO_SERVICES = ConsoleServices()
