"""The witness: this agency looks at the hub's log every few seconds, and says so under its own key.

1. The checkpoint that the hub proposes must be the log's own and have grown from the last one seen; it is on disk before it is cosigned.
2. The newest checkpoint that a quorum of the directory's witnesses cosigned must lie on the same line.
3. Deliveries that it covers are marked as witnessed; one that is not covered in time raises an alarm.
4. Entries are read one by one; those in this agency's own name that it did not cause raise an alarm.

A proven fork, or a log that went back, stops sending. Whatever merely fails is tried again. ``epoch_turn`` follows the log into a new epoch.
"""

import asyncio
import random
from datetime import datetime

import structlog

from adapters.gateway.durable_files import write_durably
from adapters.gateway.outgoing.outbox_model import read_instant
from adapters.gateway.parts import AgencyParts
from adapters.gateway.witnessing.epoch_turn import EpochTurn
from adapters.gateway.witnessing.log_reader import LogForked, LogReader, LogUnclear
from adapters.gateway.witnessing.log_watch import LogWatch, Seen
from adapters.gateway.witnessing.witnessed_deliveries import WitnessedDeliveries
from schemas.canonical import parse_object
from schemas.checkpoint import NoteVerifier, read_checkpoint, verify_checkpoint
from schemas.cosignature import cosign_checkpoint
from schemas.directory import Directory
from schemas.errors import NotAuthenticated, SafelaneError
from schemas.keys import Jwk, compute_thumbprint
from schemas.merkle import hash_leaf
from schemas.witnesses import has_quorum

_log = structlog.get_logger(__name__)

CONTRADICTIONS_BEFORE_STOP = 3
"""A smaller or unprovable log may be a server that lags; after so many looks in a row it is what the hub stands by."""
_BUNDLES_A_LOOK = 64
_MAX_ENTRY = 65_535


class Witness:
    """One agency's witness."""

    def __init__(self, parts: AgencyParts) -> None:
        self._parts = parts
        self._reader = LogReader(parts.hub)
        self._deliveries = WitnessedDeliveries(parts.store)
        self._contradictions = 0
        self.watch = LogWatch(parts.store)
        self._turn = EpochTurn(parts, self.watch, self._reader)

    async def run(self, stop: asyncio.Event) -> None:
        """Look at the log until ``stop`` is set."""
        every = self._parts.gateway.witness.every.total_seconds()
        while not stop.is_set():
            try:
                await self.look()
            except SafelaneError as error:
                _log.warning("witness_waits", agency=self._parts.agency, code=error.code, field=error.field)
            try:
                await asyncio.wait_for(stop.wait(), timeout=every * random.uniform(0.8, 1.0))  # noqa: S311 - jitter
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Look once.

        Raises:
            SafelaneError: it could not be done now; nothing is proven.
        """
        parts = self._parts
        directory = parts.keeper.current().directory
        if not directory.hub.log_verifier:
            return
        in_epoch = await self._turn.follow(directory.hub)
        if not in_epoch or await asyncio.to_thread(self.watch.find_stop) is not None:
            return
        log = NoteVerifier.from_text(directory.hub.log_verifier)
        try:
            note = await self._reader.fetch_note("proposed")
            if note is None:
                return
            seen = await self._accept(Seen(verify_checkpoint(note, log), note))
            if seen is not None:
                await self._cosign(seen, directory)
            await self._take_quorum(directory, log)
            await self._cover_deliveries(directory)
            await self._read_entries()
        finally:
            await asyncio.to_thread(self._raise_late_alarms, directory)
            await asyncio.to_thread(self._export, directory)

    async def _accept(self, seen: Seen) -> Seen | None:
        """Keep a checkpoint that has grown from the last; return it, or none where it is smaller and nothing is proven yet."""
        last = await asyncio.to_thread(self.watch.newest)
        now = self._parts.real_clock()
        if last is not None and seen.checkpoint.size < last.checkpoint.size:
            known = await asyncio.to_thread(self.watch.find, seen.checkpoint.size)
            if known is not None and known.checkpoint.root != seen.checkpoint.root:
                self._stop("log-fork", known, seen)
            else:
                self._count_contradiction("log-went-back", last, seen)
            return None
        if last is not None:
            try:
                await self._reader.require_growth(last.checkpoint, seen.checkpoint)
            except LogForked:
                self._stop("log-fork", last, seen)
                return None
            except LogUnclear:
                self._count_contradiction("log-cannot-prove-growth", last, seen)
                raise
        self._contradictions = 0
        await asyncio.to_thread(self.watch.record, seen, now)
        return seen

    async def _cosign(self, seen: Seen, directory: Directory) -> None:
        parts, size = self._parts, seen.checkpoint.size
        if parts.agency not in directory.witnesses.agencies or await asyncio.to_thread(self.watch.is_cosigned, size):
            return
        jwks = self._list_own_keys(directory)
        if not jwks:
            _log.warning("witness_keys_not_in_directory", agency=parts.agency)
            return
        now = parts.real_clock()
        seconds = int(now.timestamp())
        lines = "".join(cosign_checkpoint(seen.note, parts.agency, jwk, timestamp=seconds) for jwk in jwks)
        try:
            await parts.hub.request("POST", "/v1/log/cosignatures", {"size": size, "line": lines})
        except NotAuthenticated:
            # The officers may have listed another key of ours since: the next look signs as the directory then says.
            await parts.keeper.refresh()
            raise
        await asyncio.to_thread(self.watch.mark_cosigned, size, now)

    def _list_own_keys(self, directory: Directory) -> list[Jwk]:
        """Return those of our witness keys that the directory lists: a new one counts only once officers have signed it."""
        agency = directory.find_agency(self._parts.agency)
        listed = {compute_thumbprint(jwk) for jwk in agency.keys.witness} if agency else set()
        return [jwk for jwk in self._parts.keystore.witness_keys() if compute_thumbprint(jwk) in listed]

    async def _take_quorum(self, directory: Directory, log: NoteVerifier) -> None:
        note = await self._reader.fetch_note("witnessed") if directory.witnesses.quorum else None
        if note is None or read_checkpoint(note).origin != log.name or not has_quorum(note, directory):
            return  # none yet, or none yet in this epoch
        seen = Seen(verify_checkpoint(note, log), note)
        known, newest = await asyncio.to_thread(self.watch.quorum), await asyncio.to_thread(self.watch.newest)
        if newest is None or (known is not None and seen.checkpoint.size <= known.checkpoint.size):
            return
        first, second = sorted((seen, newest), key=lambda item: item.checkpoint.size)
        try:
            await self._reader.require_growth(first.checkpoint, second.checkpoint)
        except LogForked:
            self._stop("log-fork", first, second)
            return
        await asyncio.to_thread(self.watch.record_quorum, seen, self._parts.real_clock())

    async def _cover_deliveries(self, directory: Directory) -> None:
        """Mark the deliveries that the quorum's checkpoint covers, each proven to lie on its line."""
        now = self._parts.real_clock()
        await asyncio.to_thread(self._deliveries.note_new, directory.hub, now)
        quorum = await asyncio.to_thread(self.watch.quorum)
        if quorum is None or not directory.witnesses.quorum:
            return
        for waiting in await asyncio.to_thread(self._deliveries.list_coverable, quorum.checkpoint):
            try:
                await self._reader.require_growth(waiting, quorum.checkpoint)
            except LogForked:
                self._stop("log-fork", None, quorum)
                return
            await asyncio.to_thread(self._deliveries.mark_witnessed, waiting, now)

    async def _read_entries(self) -> None:
        newest = await asyncio.to_thread(self.watch.newest)
        if newest is None or self.watch.find_stop():
            return
        kids = list(self._parts.keystore.encryption_private_jwks(self._parts.real_clock()))
        await asyncio.to_thread(self.watch.remember_keys, kids)
        edge = await asyncio.to_thread(self.watch.reading)
        for _ in range(_BUNDLES_A_LOOK):
            if edge.size >= newest.checkpoint.size:
                break
            entries = await self._reader.fetch_entries(edge.size, newest.checkpoint.size)
            for number, entry in enumerate(entries, start=edge.size):
                self._look_at_entry(entry, number)
            edge = edge.append(hash_leaf(entry) for entry in entries).after
            if edge.size == newest.checkpoint.size and edge.root() != newest.checkpoint.root:
                # What is served as entries is not what was signed: begin again, and say so.
                self.watch.raise_alarm("log-entries-differ", str(edge.size), self._parts.real_clock())
                edge = type(edge)()
                await asyncio.to_thread(self.watch.record_reading, edge)
                raise LogUnclear("the entries do not make the signed root", field="log.tiles")
            await asyncio.to_thread(self.watch.record_reading, edge)

    def _look_at_entry(self, entry: bytes, number: int) -> None:
        """Raise an alarm for what was done in this agency's name without it. Commitments say nothing to us, and are passed over."""
        if b'"agency"' not in entry:
            return
        try:
            event = parse_object(entry, max_bytes=_MAX_ENTRY, field="entry")
        except SafelaneError:
            return
        if event.get("agency") != self._parts.agency:
            return
        now = self._parts.real_clock()
        if event.get("event") == "revocation":
            self.watch.raise_alarm("revoked-in-our-name", str(number), now)
        elif event.get("event") == "key" and not self.watch.owns_key(str(event.get("kid"))):
            if not _is_over(event.get("not_after"), now):
                self.watch.raise_alarm("foreign-key-in-our-name", str(number), now)
        else:
            _log.info("log_entry_in_our_name", kind=str(event.get("event")), position=number)

    def _count_contradiction(self, code: str, last: Seen, seen: Seen) -> None:
        self._contradictions += 1
        if self._contradictions >= CONTRADICTIONS_BEFORE_STOP:
            self._stop(code, last, seen)

    def _stop(self, code: str, first: Seen | None, second: Seen) -> None:
        notes = (first.note if first else "", second.note)
        place = f"{first.checkpoint.size if first else '?'}/{second.checkpoint.size}"
        self.watch.raise_alarm(code, place, self._parts.real_clock(), stops=True, notes=notes)

    def _raise_late_alarms(self, directory: Directory) -> None:
        times, now = self._parts.gateway.witness, self._parts.real_clock()
        late = self._deliveries.count_late(now - times.alarm_after) if directory.witnesses.quorum else 0
        if late:
            self.watch.raise_alarm("deliveries-unwitnessed", "inbox", now)
        else:
            self.watch.settle_alarm("deliveries-unwitnessed")
        grew_at = self.watch.seen_at()
        if grew_at is not None and read_instant(grew_at) < now - times.silent_after:
            self.watch.raise_alarm("log-silent", "checkpoint", now)
        else:
            self.watch.settle_alarm("log-silent")

    def _export(self, directory: Directory) -> None:
        state = self.watch.export(self._parts.agency, directory.hub.log_verifier).to_bytes()
        path = self._parts.config.log_state_path
        if not path.exists() or path.read_bytes() != state:
            write_durably(path, state)


def _is_over(instant: object, now: datetime) -> bool:
    try:
        return isinstance(instant, str) and datetime.fromisoformat(instant) < now
    except ValueError:
        return False
