"""Following the hub's log into its next epoch: only where the authority's directory says so, and only if what was kept is what we saw.

1. The new head is signed by the new key and covers the epoch's first entry, which says exactly what the authority signed.
2. What we saw of the kept part lies on the new head's line. If not, history was rewritten under cover of a loss: sending stops.
3. In one transaction: the heads of the old epoch are put aside, alarms of the loss itself end, and all that the lost part held of ours is due again:
   sealed referrals as they were sealed, statements and receipts as they were signed.
"""

import asyncio

import structlog

from adapters.gateway.durable_files import write_durably
from adapters.gateway.incoming.inbox_store import InboxStore
from adapters.gateway.outgoing.statements import forget_lost_statements
from adapters.gateway.parts import AgencyParts
from adapters.gateway.witnessing.log_reader import LogForked, LogReader, LogUnclear
from adapters.gateway.witnessing.log_watch import LogWatch, Seen
from schemas.checkpoint import Checkpoint, NoteVerifier, read_checkpoint, verify_checkpoint
from schemas.directory import HubKeys
from schemas.log_epochs import find_epoch, is_epoch_entry, measure_kept

_log = structlog.get_logger(__name__)

REWRITTEN = "epoch-rewrites-history"
FORGETS = "epoch-forgets-what-we-saw"


class EpochTurn:
    """One agency's way from an epoch to the next."""

    def __init__(self, parts: AgencyParts, watch: LogWatch, reader: LogReader) -> None:
        self._parts = parts
        self._watch = watch
        self._reader = reader

    async def follow(self, hub: HubKeys) -> bool:
        """Enter the directory's epoch if we are in an earlier one and the hub has opened it; return whether we are in the directory's epoch.

        Raises:
            LogUnclear: the hub does not show what it must; nothing is proven yet.
            SignatureInvalid: the head is not signed by the new key.
        """
        known = await asyncio.to_thread(self._read_epoch, hub)
        if known == hub.epoch:
            return True
        note = await self._reader.fetch_note("proposed")
        kept_size = hub.earlier[-1].kept_size if hub.earlier else 0
        if note is None:
            return False
        head = verify_checkpoint(note, NoteVerifier.from_text(hub.log_verifier))
        if head.size <= kept_size:
            return False
        entry = (await self._reader.fetch_entries(kept_size, head.size))[0]
        if not is_epoch_entry(entry, hub):
            raise LogUnclear("the epoch does not begin as the authority signed", field="log.epoch")
        await self._reader.require_entry(kept_size, entry, head)
        if not await self._lies_on_our_line(hub, known, head, note):
            return False
        await asyncio.to_thread(self._enter, hub, known)
        return True

    def _read_epoch(self, hub: HubKeys) -> int:
        """Return the epoch that we are in; a store that never heard of epochs is in that of the heads that it has."""
        known = self._watch.epoch()
        if known is None:
            newest = self._watch.newest()
            known = hub.epoch if newest is None else find_epoch(hub, newest.checkpoint.origin)
            self._watch.record_epoch(known, self._parts.real_clock())
        return known

    async def _lies_on_our_line(self, hub: HubKeys, known: int, head: Checkpoint, note: str) -> bool:
        kept = measure_kept(hub, known)
        seen = await asyncio.to_thread(self._watch.newest_up_to, kept)
        if seen is not None:
            try:
                await self._reader.require_growth(seen.checkpoint, head)
            except LogForked:
                self._raise(REWRITTEN, seen, Seen(head, note), stops=True)
                return False
        starting = Seen(read_checkpoint(hub.starting_checkpoint), hub.starting_checkpoint)
        if find_epoch(hub, starting.checkpoint.origin) == known:
            same_size = await asyncio.to_thread(self._watch.find, starting.checkpoint.size)
            if same_size is not None and same_size.checkpoint.root != starting.checkpoint.root:
                self._raise("log-fork", same_size, starting, stops=True)
                return False
            newest = await asyncio.to_thread(self._watch.newest)
            if newest is not None and newest.checkpoint.size > starting.checkpoint.size:
                self._raise(FORGETS, newest, starting, stops=False)
        return True

    def _raise(self, code: str, first: Seen, second: Seen, *, stops: bool) -> None:
        place = f"{first.checkpoint.size}/{second.checkpoint.size}"
        notes = (first.note, second.note)
        self._watch.raise_alarm(code, place, self._parts.real_clock(), stops=stops, notes=notes)

    def _enter(self, hub: HubKeys, known: int) -> None:
        parts, now = self._parts, self._parts.real_clock()
        earlier = next((e for e in hub.earlier if e.epoch == known), None)
        if earlier is not None:
            old = self._watch.export(parts.agency, earlier.log_verifier).to_bytes()
            path = parts.config.log_state_path
            write_durably(path.with_name(f"{path.stem}.epoch-{known}{path.suffix}"), old)
        kept = measure_kept(hub, known)
        with parts.store.transaction():
            self._watch.enter_epoch(hub.epoch, now)
            referrals = parts.outbox.tracking.resubmit_lost(kept, now)
            statements = forget_lost_statements(parts.store, kept)
            receipts = InboxStore(parts.store).forget_lost_receipts(kept)
        parts.keystore.announce_again()
        _log.warning(
            "log_epoch_entered",
            agency=parts.agency,
            epoch=hub.epoch,
            kept=kept,
            referrals=referrals,
            statements=statements,
            receipts=receipts,
        )
