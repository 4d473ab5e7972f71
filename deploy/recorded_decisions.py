"""Recorded decisions, read back with everything that they rested on: header, directory version, registers as the log had them, and their own policy pack."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.decisions import DecisionEngine, PolicyPack, Registers
from broker.decisions.simulate import list_differences
from broker.intake.register_view import read_registers
from broker.intake.standing import find_gone, refuse_held
from broker.intake.stored import StoredMessage, read_stored
from broker.registry.packs import PackShelf
from broker.store import policies as policy_store
from broker.store import registers as register_store
from broker.store.pool import Connection, translate_errors
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.errors import NotFound, SafelaneError
from schemas.header import RoutingHeader
from schemas.objects import peek_object
from schemas.objects.approval import ApprovalAction

_RECORDED = """
SELECT x.*, m.sender, m.conversation, m.received_at, e.position FROM (
  SELECT d.message_id, d.delivery_id, 0 AS number, d.decision, d.event_id, d.decided_at, d.recipient, m.directory_version
  FROM deliveries d JOIN messages m USING (message_id)
  UNION ALL SELECT r.message_id, r.delivery_id, r.number, r.decision, r.event_id, r.decided_at, d.recipient, r.directory_version
  FROM redecisions r JOIN deliveries d USING (message_id, delivery_id)
) x JOIN messages m USING (message_id) JOIN log_entries e ON e.event_id = x.event_id
"""
_OF_ID = "WHERE x.delivery_id = $1 OR m.referral_id = $1 OR x.message_id = $2 ORDER BY e.position LIMIT 1000"
_LAST = "ORDER BY e.position DESC LIMIT $1"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded decision, and what it rested on. ``number`` is 0 for the first of its delivery."""

    delivery_id: str
    number: int
    decision: Decision
    decided_at: datetime
    directory_version: int | None
    stored: StoredMessage = field(repr=False)
    registers: Registers = field(repr=False)
    refused: bool
    """A person had refused what it held."""
    gone: frozenset[str] = frozenset()
    """The sections that had been released before it."""

    @property
    def header(self) -> RoutingHeader:
        """The header, of this one delivery."""
        return self.stored.header.model_copy(update={"deliveries": (self.stored.find_request(self.delivery_id),)})

    def decide_with(self, engine: DecisionEngine) -> Decision:
        """Decide it again as it was decided, with ``engine``."""
        found = self._decide(engine, self.registers)
        if not self.refused:
            return found
        unapproved = self._decide(engine, replace(self.registers, approvals=()))
        return refuse_held(found, unapproved, self.stored.find_compartments(self.gone))

    def _decide(self, engine: DecisionEngine, registers: Registers) -> Decision:
        (found,) = engine.decide_all(
            self.header, sender=self.stored.manifest.sender, registers=registers, now=self.decided_at
        )
        return found


@dataclass(frozen=True, slots=True)
class Rerun:
    """What running a recorded decision again gave: differences in words (none: the same answer), or why it could not be run."""

    recorded: Recorded
    differences: tuple[str, ...] = ()
    not_run: str = ""

    @property
    def is_same(self) -> bool:
        """Whether the same answer came from the same inputs."""
        return not self.differences and not self.not_run


async def read_recorded(connection: Connection, *, searched_id: str = "", last: int = 0) -> tuple[list[Recorded], int]:
    """Return the recorded decisions of a referral, message or delivery, or the last ones; and how many could not be read back.

    Raises:
        NotFound: there is no such id.
        StoreUnavailable: PostgreSQL does not answer.
    """
    with translate_errors():
        if searched_id:
            rows = await connection.fetch(f"{_RECORDED} {_OF_ID}", searched_id, _read_uuid(searched_id))
            if not rows:
                raise NotFound("no message, referral or delivery has this id", field="id")
        else:
            rows = await connection.fetch(f"{_RECORDED} {_LAST}", last)
        found = [one for row in rows if (one := await _read_back(connection, row)) is not None]
    return found, len(rows) - len(found)


async def run_again(connection: Connection, recorded: Sequence[Recorded], shelf: PackShelf) -> list[Rerun]:
    """Decide recorded decisions again, each with its own policy pack and under its own directory version."""
    directories: dict[int, Directory | None] = {}
    found = []
    for one in recorded:
        pack = await find_pack(connection, one.decision.policy_digest, shelf)
        version = one.directory_version
        if version is not None and version not in directories:
            directories[version] = await _read_directory(connection, version)
        directory = directories.get(version) if version is not None else None
        if pack is None or directory is None:
            lacking = "policy pack" if pack is None else "directory version"
            found.append(Rerun(one, not_run=f"its {lacking} is not here"))
            continue
        again = one.decide_with(DecisionEngine(pack, directory))
        differences = list_differences(one.decision, again)
        if again.inputs_digest != one.decision.inputs_digest:
            differences.append("the inputs are others than were recorded")
        found.append(Rerun(one, tuple(differences)))
    return found


async def find_pack(connection: Connection, digest: str, shelf: PackShelf) -> PolicyPack | None:
    """Return the pack of a digest, lodged or installed; none if it is not here."""
    loaded = shelf.find_loaded(digest)
    if loaded is not None:
        return loaded
    with translate_errors():
        body = await policy_store.read_pack(connection, digest)
    return shelf.keep(digest, body) if body is not None else None


async def _read_back(connection: Connection, row: Any) -> Recorded | None:
    """Return one recorded decision; none where the message's bytes are gone (erased, or not what was verified)."""
    message = await register_store.read_message(connection, row["message_id"])
    if message is None or message["body"] is None:
        return None
    try:
        stored = read_stored(message)
        decision = Decision.model_validate(json.loads(row["decision"]))
        directory = await _read_directory(connection, row["directory_version"])
    except (SafelaneError, ValueError):
        return None
    if decision.decided_at is None or directory is None:
        return None
    first = row["number"] == 0
    registers = await read_registers(
        connection,
        stored.header,
        directory,
        sender=row["sender"],
        conversation=row["conversation"],
        message_id=row["message_id"],
        recipient=None if first else row["recipient"],
        now=decision.decided_at,
        before=row["position"],
    )
    approvals = await register_store.list_approvals(connection, row["message_id"], row["position"])
    refused = any(a["action"] == ApprovalAction.REFUSE and a["delivery_id"] == row["delivery_id"] for a in approvals)
    line = await register_store.read_delivery(connection, row["delivery_id"], row["message_id"])
    later = await register_store.list_redecisions(connection, row["message_id"], row["delivery_id"])
    gone = frozenset() if first else find_gone(line, [one for one in later if one["number"] < row["number"]])
    return Recorded(
        delivery_id=row["delivery_id"],
        number=row["number"],
        decision=decision,
        decided_at=decision.decided_at,
        directory_version=row["directory_version"],
        stored=stored,
        registers=registers,
        refused=refused,
        gone=gone,
    )


async def _read_directory(connection: Connection, version: int | None) -> Directory | None:
    body = await connection.fetchval("SELECT body FROM directory_versions WHERE version = $1", version)
    # Verified when it was taken in, perhaps by the authority's predecessor; fsck compares the stored bytes with the log.
    return Directory.model_validate(peek_object(body)) if body is not None else None


def _read_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
