"""The second epoch of a log: a loss, the directory that two officers sign, and what goes on under it; and what a hub that lies could do with that."""

import hashlib
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import yaml

from broker.config import load_config
from broker.log.append import LogWriter, insert_payloads
from broker.log.events import NewEvent
from deploy.hub_epoch import open_log_epoch
from schemas.canonical import encode_base64url
from schemas.checkpoint import LogVerifier, write_verifier
from schemas.codes import ReceiptState
from schemas.directory import Directory, HubKeys
from schemas.keys import KeyUse, SigningKeys, generate_ed25519_jwk, public_part
from schemas.log_epochs import EPOCH_EVENT, begin_epoch, list_epoch_members
from schemas.log_state import LogState
from schemas.signed_directory import sign_directory
from tests.support.authority import FoundedAuthority
from tests.support.hub_agency import sign_receipt, verify_as
from tests.support.hub_world import CSC, SCHOOL
from tests.support.tampering import Tamperer, Targets, cut_log, make_heartbeats, read_log_edge
from tests.support.whole_log import PlainDraft, WholeLog, witness

ORIGIN = "log.example.org/test/2"
_FORGED = ("kept_size", "kept_root", "witnessed_size", "witnessed_root", "log_origin", "epoch")


@dataclass(frozen=True, slots=True)
class TwoEpochs:
    """A hub whose log is in its second epoch. ``states`` are a witness's files of both; ``first`` signed the first epoch and is still in wrong hands."""

    whole: WholeLog
    first: LogWriter
    states: tuple[LogState, ...]
    directory: Directory

    @property
    def hub(self) -> HubKeys:
        return self.directory.hub

    async def seen_now(self) -> "TwoEpochs":
        """Return the same, with the log's newest head in the witness's file: what no witness has seen can go without a trace."""
        *earlier, last = self.states
        notes = (*last.notes, await _newest_note(self.whole.world.owner))
        return replace(self, states=(*earlier, replace(last, notes=notes)))


async def open_second_epoch(whole: WholeLog) -> TwoEpochs:
    """Lose what was logged last, open the next epoch as the runbook says, and take in, deliver and witness a referral in it."""
    world, first = whole.world, whole.writer
    kept = await _newest_note(world.owner)
    await whole.append(*make_heartbeats(3, datetime.now(UTC)))
    seen = LogState(CSC, first.verifier, (kept, await _newest_note(world.owner)))
    async with world.owner.transaction():
        await world.owner.execute("SET LOCAL session_replication_role = replica")
        await cut_log(world.owner, int(kept.split("\n")[1]))
    verifier = _name_new_key(world.config_file)
    authority = FoundedAuthority(world.folder / "authority")
    hub = begin_epoch(authority.state().hub, kept, [seen], log_origin=ORIGIN, log_verifier=verifier)
    signed = authority.sign(changed=authority.state().model_copy(update={"hub": hub}))
    world.config, world.log = load_config(world.config_file), LogVerifier.from_text(verifier)
    await open_log_epoch(world.config, signed.body)
    await _send_and_receive(whole)
    cosigned = await witness(whole)
    await whole.append(*make_heartbeats(1, datetime.now(UTC)))
    return TwoEpochs(whole, first, (seen, LogState(CSC, verifier, (cosigned,))), signed.directory)


async def _newest_note(owner: asyncpg.Connection) -> str:
    return str(await owner.fetchval("SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT 1"))


def _name_new_key(config_file: Path) -> str:
    """Make the new epoch's key, name it in ``hub.yaml``, and return its verifier."""
    jwk = generate_ed25519_jwk(KeyUse.LOG)
    (config_file.parent / "log2.jwk").write_text(json.dumps(jwk))
    document = yaml.safe_load(config_file.read_text())
    document["log"] = {"origin": ORIGIN, "key_file": "log2.jwk", "epoch": 2}
    config_file.write_text(yaml.safe_dump(document))
    return write_verifier(ORIGIN, public_part(jwk))


async def _send_and_receive(whole: WholeLog) -> None:
    world = whole.world
    whole.clock.ahead *= 0
    async with world.running_worker(clock=whole.clock):
        await world.receive(SCHOOL, 99, seconds=1)  # what came under the first epoch's key
        whole.waiting.pop(SCHOOL, None)
        await whole.send(PlainDraft(recipients=((SCHOOL, "dsl"),)))
        delivery = verify_as(world, SCHOOL, (await whole.take(SCHOOL, "delivery")).body)
        await whole.say(SCHOOL, "receipt", sign_receipt(world, delivery, ReceiptState.ACCEPTED))
        await world.wait_for("SELECT count(*) FROM outbox WHERE kind <> 'delivery' AND kind <> 'ticket'", 0)


class EpochTamperer(Tamperer):
    """Tampers with a log in its second epoch: also with what the epoch says of itself, and with the first, whose key it has."""

    def __init__(self, epochs: TwoEpochs, targets: Targets, chance: random.Random) -> None:
        super().__init__(epochs.whole.world.owner, targets, epochs.whole.writer, chance)
        self._epochs = epochs
        self._kept = epochs.hub.earlier[-1].kept_size

    def _list_ways(self) -> list[tuple[int, Callable[[], Awaitable[str | None]]]]:
        epochs = [(2, self.restate), (2, self.rewrite_first), (1, self.sign_alone), (1, self.return_to_first)]
        return [*super()._list_ways(), *epochs]

    async def restate(self) -> str | None:
        """Let the epoch begin with something else than the authority signed, and go on from there."""
        members = {**list_epoch_members(self._epochs.hub), "at": datetime.now(UTC).isoformat()}
        name = self._chance.choice(_FORGED)
        old = members[name]
        members[name] = old + 1 if isinstance(old, int) else "A" + str(old)[:-1]
        await cut_log(self._owner, self._kept)
        await self._write(self._writer, [NewEvent.clear(EPOCH_EVENT, members)])
        self.expected = "epoch-entry-wrong"
        self._note("restate")
        return f"restate {name}"

    async def rewrite_first(self) -> str | None:
        """Write the first epoch anew with its own key, and over it the epoch's true statement: only the kept root shows it."""
        statement = NewEvent.clear(
            EPOCH_EVENT, {**list_epoch_members(self._epochs.hub), "at": datetime.now(UTC).isoformat()}
        )
        rows = await self._owner.fetch("SELECT size FROM log_checkpoints WHERE size < $1 ORDER BY size", self._kept)
        cut = self._chance.choice(rows)["size"]
        await cut_log(self._owner, cut)
        _, at = await read_log_edge(self._owner)
        await self._write(self._epochs.first, make_heartbeats(self._kept - cut, at), whole=True)
        await self._write(self._writer, [statement])
        self.expected = "differs-from-what-was-witnessed"
        self._note("rewrite")
        return f"rewrite the first epoch from {cut}"

    async def sign_alone(self) -> str | None:
        """Put a directory in the place of any, or after the newest, that says something else of the epoch and that no officer signed."""
        hub = self._epochs.hub
        forged = hub.earlier[-1].model_copy(update={"kept_root": encode_base64url(self._chance.randbytes(32))})
        version = self._chance.randint(1, self._epochs.directory.version + 1)
        changes = {"version": version, "hub": hub.model_copy(update={"earlier": (*hub.earlier[:-1], forged)})}
        signer, _ = SigningKeys.generate(KeyUse.AUTHORITY)
        body = sign_directory(self._epochs.directory.model_copy(update=changes), signer)
        await self._owner.execute("DELETE FROM directory_versions WHERE version = $1", version)
        await self._owner.execute(
            "INSERT INTO directory_versions (version, body, sha256, issued_at, expires_at, received_at)"
            " VALUES ($1, $2, $3, $4, $5, $4)",
            version,
            body,
            hashlib.sha256(body).digest(),
            self._epochs.directory.issued_at,
            self._epochs.directory.expires_at,
        )
        self.expected = "directory-is-not-the-authoritys"
        self._note("sign alone")
        return f"sign alone version {version}"

    async def return_to_first(self) -> str | None:
        """Put everything back into the first epoch, also the directory: as if there had never been a second."""
        rows = await self._owner.fetch("SELECT size FROM log_checkpoints WHERE size <= $1 ORDER BY size", self._kept)
        cut = self._chance.choice(rows)["size"]
        await cut_log(self._owner, cut)
        await self._owner.execute("DELETE FROM directory_versions WHERE version >= $1", self._epochs.directory.version)
        self.expected = "database-was-put-back"
        self._note("return")
        return f"return to the first epoch at {cut}"

    async def _write(self, writer: LogWriter, events: list[NewEvent], *, whole: bool = False) -> None:
        """Append these events, and others up to the length that the log had, unless they are the whole of it."""
        edge, at = await read_log_edge(self._owner)
        missing = 0 if whole else self._targets.counts["log_entries"] - edge.size - len(events)
        everything = [*events, *make_heartbeats(max(missing, 0), at)]
        await insert_payloads(self._owner, everything)
        await writer.append_locked(self._owner, edge, everything, at=at)
