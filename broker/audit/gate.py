"""The gate that every read passes: an event in the log first, committed, and only then the data. What cannot be logged is not shown.

The event says who, what they did, and of what: known ids and codes in clear, anything else that was typed as a digest alone, since people type names.
"""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import asyncpg

from broker.audit.event_facts import read_uuid
from broker.audit.filters import SearchFilter
from broker.audit.scope import Permission, Reader
from broker.log import LogWriter, NewEvent
from broker.log.events import CATALOGUE
from broker.store.pool import Connection, translate_errors
from schemas.canonical import encode_base64url
from schemas.codes import Kind

ACQUIRE_SECONDS: Final = 10.0
OVERVIEW_EVERY_SECONDS: Final = 900.0
"""A page of counts that refreshes by itself is one look, not hundreds."""
_MAX_REMEMBERED: Final = 10_000
_CODES: Final = frozenset(CATALOGUE) | frozenset(Kind)


class AuditGate:
    """Logs reads. Any number of processes may have one."""

    def __init__(self, pool: asyncpg.Pool, log: LogWriter, clock: Callable[[], datetime]) -> None:
        """Take a pool whose role may append to the log, the log's writer, and the real clock."""
        self._pool = pool
        self._log = log
        self._clock = clock
        self._seen: dict[tuple[str, str], float] = {}

    async def record(self, reader: Reader, permission: Permission, action: str, subject: str = "", **more: Any) -> None:
        """Log that ``reader`` does ``action`` to ``subject``, which holds nothing but known ids, codes and digests, and return once that is committed.

        Raises:
            NotPermitted: the reader's roles do not give ``permission``; nothing is logged or shown.
            StoreUnavailable, IntegrityBroken: it cannot be logged. Show nothing.
        """
        reader.require(permission)
        now = self._clock()
        kind = "export" if action.startswith("export") else "audit_read"
        members = {"at": now.isoformat(), "by": reader.person, "action": action, "subject": subject, **more}
        with translate_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection, connection.transaction():
                await self._log.append(connection, [NewEvent.salted(kind, members)], at=now)

    async def record_overview(self, reader: Reader) -> None:
        """Log a look at counts, once in a quarter of an hour for each person.

        Raises:
            NotPermitted, StoreUnavailable, IntegrityBroken: as for ``record``.
        """
        key = (reader.person, reader.agency or "")
        last = self._seen.get(key)
        if last is not None and time.monotonic() - last < OVERVIEW_EVERY_SECONDS:
            reader.require(Permission.OVERVIEW)
            return
        await self.record(reader, Permission.OVERVIEW, "overview")
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()
        self._seen[key] = time.monotonic()

    async def name_ids(self, ids: Iterable[str]) -> str:
        """Return ids that the hub knows as they are, and anything else as a digest, in one text."""
        with translate_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                return " ".join([await _name_id(connection, text) for text in ids])

    async def name_search(self, search: SearchFilter) -> str:
        """Return what a search asked for, so that the log says it without repeating what nobody should have typed."""
        with translate_errors():
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                return await _name_search(connection, search)


def digest_text(text: str) -> str:
    """Return a digest of something that was typed, marked as one."""
    return "sha256:" + encode_base64url(sha256(text.encode()).digest())


async def _name_search(connection: Connection, search: SearchFilter) -> str:
    parts = []
    asked = {
        "event": search.event,
        "kind": search.kind,
        "agency": (search.agency,),
        "state": search.state,
        "rule": search.rule,
        "person": (search.person,),
    }
    words = [(name, word) for name, chosen in asked.items() for word in chosen if word is not None]
    typed = [word for _, word in words if word not in _CODES]
    known = _CODES | (await _find_known(connection, typed) if typed else frozenset())
    parts += [f"{name}={word if word in known else digest_text(word)}" for name, word in words]
    if search.id is not None:
        parts.append(f"id={await _name_id(connection, search.id)}")
    if search.token is not None:
        parts.append(f"token={digest_text(search.token)}")
    parts += [f"{name}={at.isoformat()}" for name, at in (("since", search.since), ("until", search.until)) if at]
    return " ".join(parts)


async def _find_known(connection: Connection, words: list[str]) -> frozenset[str]:
    rows = await connection.fetch(
        "SELECT w.word FROM unnest($1::text[]) AS w (word) WHERE EXISTS (SELECT 1 FROM audit_streams s WHERE s.sender = w.word)"
        " OR EXISTS (SELECT 1 FROM audit_streams s WHERE s.recipient = w.word)"
        " OR EXISTS (SELECT 1 FROM audit_streams s WHERE s.rule = w.word)"
        " OR EXISTS (SELECT 1 FROM audit_streams s WHERE s.state = w.word)"
        " OR EXISTS (SELECT 1 FROM audit_events e WHERE e.person = w.word)",
        words,
    )
    return frozenset(row["word"] for row in rows)


async def _name_id(connection: Connection, text: str) -> str:
    known = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM messages WHERE referral_id = $1) OR EXISTS (SELECT 1 FROM messages WHERE message_id = $2)"
        " OR EXISTS (SELECT 1 FROM audit_deliveries WHERE delivery_id = $1) OR EXISTS (SELECT 1 FROM consents WHERE consent_id = $1)",
        text,
        read_uuid(text),
    )
    return text if known else digest_text(text)
