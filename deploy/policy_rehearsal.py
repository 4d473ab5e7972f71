"""Rehearsing policy outside the hub: engines for a pack and a partnership file, and past decisions read back from the hub's records."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from broker.config import HubConfig
from broker.decisions import DEFAULT_PACK, NO_REGISTERS, DecisionEngine, PolicyPack, load_pack
from broker.decisions.case_facts import build_case_facts
from broker.decisions.cases import Case
from broker.decisions.layering import layer_pack
from broker.decisions.simulate import RecordedInput, record_header
from broker.registry import DirectorySnapshot
from broker.store import translate_errors
from deploy.authority.partnership import load_partnership
from deploy.hub_status import open_operator
from schemas.decision import Decision
from schemas.directory import Directory
from schemas.envelope import parse_envelope, verify_envelope
from schemas.errors import SafelaneError

SAMPLE_PARTNERSHIP = Path(__file__).parent / "local" / "samples" / "partnership.yaml"
_REHEARSAL_DAYS = timedelta(days=365)

_LAST_DECISIONS = """
SELECT d.delivery_id, d.decision, m.sender, m.body, m.received_at
FROM deliveries d JOIN messages m USING (message_id) ORDER BY d.decided_at DESC, d.delivery_id LIMIT $1
"""


@dataclass(frozen=True, slots=True)
class PastDecisions:
    """Inputs of past decisions, and how many could not be read back (their sender's keys or content are gone)."""

    inputs: tuple[RecordedInput, ...]
    unreadable: int


def choose_pack(folder: Path | None, local: Path | None) -> PolicyPack:
    """Return the pack in ``folder`` (none: the national one that is installed), with a local pack over it if there is one.

    Raises:
        ConfigInvalid: a pack is not valid, or the local one does more than it may.
    """
    pack = load_pack(folder or DEFAULT_PACK)
    return layer_pack(pack, local) if local else pack


def read_partnership(path: Path | None) -> Directory:
    """Return an unsigned directory of a partnership file, for rehearsal only: who holds which role, agreements, local policy.

    Raises:
        ConfigInvalid: the file is not of its form.
    """
    parts = dict(load_partnership(path or SAMPLE_PARTNERSHIP))
    now = datetime.now(UTC)
    return Directory(version=1, issued_at=now, expires_at=now + _REHEARSAL_DAYS, **parts)


def record_cases(cases: Sequence[Case], now: DecisionEngine, new: DecisionEngine) -> list[RecordedInput]:
    """Return decision cases as inputs of a rehearsal.

    Raises:
        Rejected: a case is not of its form.
    """
    return [
        RecordedInput(case.id, build_case_facts(case.id, case.data, now), build_case_facts(case.id, case.data, new))
        for case in cases
    ]


async def read_past_decisions(
    config: HubConfig, last: int, now_pack: PolicyPack, new_pack: PolicyPack
) -> tuple[PastDecisions, DecisionEngine, DecisionEngine]:
    """Read the last decisions back from the hub's records, newest first, under the current directory.

    Approvals and other registers are left out on both sides, so that what differs is the packs'.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    async with open_operator(config) as (pool, registry):
        snapshot = await registry.current()
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                rows = await connection.fetch(_LAST_DECISIONS, last, timeout=60)
    # Neither pack need be the one that the signed directory names: this is a rehearsal.
    directory = snapshot.directory.model_copy(update={"policy_digest": "", "matrix": ()})
    engines = DecisionEngine(now_pack, directory), DecisionEngine(new_pack, directory)
    found: list[RecordedInput] = []
    for row in rows:
        one = _read_back(dict(row), snapshot, engines)
        if one is not None:
            found.append(one)
    return PastDecisions(tuple(found), len(rows) - len(found)), *engines


def _read_back(
    row: dict[str, object], snapshot: DirectorySnapshot, engines: tuple[DecisionEngine, DecisionEngine]
) -> RecordedInput | None:
    """Return one past decision's input; none where the envelope no longer verifies or opens."""
    sender, body, received_at = str(row["sender"]), row["body"], row["received_at"]
    if not isinstance(body, bytes) or not isinstance(received_at, datetime):
        return None
    try:
        keys = snapshot.signing_keys.get(sender, ())
        verified = verify_envelope(parse_envelope(body), keys, now=received_at, sender=sender)
        decided = Decision.model_validate(json.loads(str(row["decision"])))
    except (SafelaneError, ValueError):
        return None
    return record_header(
        str(row["delivery_id"]),
        verified.header,
        sender=sender,
        registers=NO_REGISTERS,
        decided=decided,
        engines=engines,
    )
