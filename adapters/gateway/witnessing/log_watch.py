"""What this agency has seen of the hub's log, on disk before anything follows from it: checkpoints, alarms, and how far its entries were read.

A stop is a proven fork or rollback: nothing is sent until a person says so. Other alarms never stop a child's referral.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from adapters.gateway.outgoing.outbox_model import write_instant
from adapters.gateway.store import GatewayStore
from schemas.checkpoint import Checkpoint, read_checkpoint
from schemas.log_state import LogState
from schemas.merkle import HASH_BYTES, RightEdge

_log = structlog.get_logger(__name__)

USE_THE_TELEPHONE = "The hub's log contradicts itself. Sending has stopped: use the telephone, and call your partnership's security contact."
KEPT_CHECKPOINTS = 2000
MIGRATIONS = (
    """
CREATE TABLE log_seen (
  size INTEGER PRIMARY KEY,
  root BLOB NOT NULL,
  note TEXT NOT NULL,
  seen_at TEXT NOT NULL,
  cosigned_at TEXT
);
CREATE TABLE log_quorum (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  size INTEGER NOT NULL,
  note TEXT NOT NULL,
  at TEXT NOT NULL
);
CREATE TABLE log_reading (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  size INTEGER NOT NULL,
  edge BLOB NOT NULL
);
CREATE TABLE log_own_key (kid TEXT PRIMARY KEY);
CREATE TABLE log_alarm (
  code TEXT NOT NULL,
  place TEXT NOT NULL,
  raised_at TEXT NOT NULL,
  stops INTEGER NOT NULL,
  first TEXT NOT NULL,
  second TEXT NOT NULL,
  cleared_at TEXT,
  cleared_by TEXT,
  PRIMARY KEY (code, place)
);
""",
    """
CREATE TABLE log_epoch (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  epoch INTEGER NOT NULL,
  since TEXT NOT NULL
);
CREATE TABLE log_seen_earlier (
  epoch INTEGER NOT NULL,
  size INTEGER NOT NULL,
  note TEXT NOT NULL,
  seen_at TEXT NOT NULL,
  PRIMARY KEY (epoch, size)
);
""",
)
OF_A_LOSS = ("log-went-back", "log-cannot-prove-growth")
"""What a database that was put back looks like; a new epoch that the authority signed ends the stop. A fork ends by a person's word alone."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint that was verified and found consistent with all before it."""

    checkpoint: Checkpoint
    note: str


class LogWatch:
    """The tables. Methods are synchronous and durable when they return."""

    def __init__(self, store: GatewayStore) -> None:
        store.migrate("log", MIGRATIONS)
        self._store = store

    def newest(self) -> Seen | None:
        """Return the largest checkpoint seen, or none."""
        rows = self._store.query("SELECT note FROM log_seen ORDER BY size DESC LIMIT 1")
        return _read_seen(rows[0]["note"]) if rows else None

    def find(self, size: int) -> Seen | None:
        """Return the checkpoint of this size, if it was seen."""
        rows = self._store.query("SELECT note FROM log_seen WHERE size = ?", (size,))
        return _read_seen(rows[0]["note"]) if rows else None

    def newest_up_to(self, size: int) -> Seen | None:
        """Return the largest checkpoint seen of at most ``size`` entries, or none."""
        rows = self._store.query("SELECT note FROM log_seen WHERE size <= ? ORDER BY size DESC LIMIT 1", (size,))
        return _read_seen(rows[0]["note"]) if rows else None

    def epoch(self) -> int | None:
        """Return the log's epoch that we are in, or none before we first looked."""
        rows = self._store.query("SELECT epoch FROM log_epoch WHERE id = 1")
        return int(rows[0]["epoch"]) if rows else None

    def record_epoch(self, epoch: int, now: datetime) -> None:
        """Keep which epoch we are in."""
        with self._store.transaction() as db:
            db.execute("INSERT OR REPLACE INTO log_epoch VALUES (1, ?, ?)", (epoch, write_instant(now)))

    def enter_epoch(self, epoch: int, now: datetime) -> None:
        """Go into the next epoch: what was seen before is put aside, and a stop ends that was the loss itself."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO log_seen_earlier SELECT (SELECT epoch FROM log_epoch), size, note, seen_at FROM log_seen"
            )
            for table in ("log_seen", "log_quorum", "log_reading"):
                db.execute(f"DELETE FROM {table}")  # noqa: S608 (constant names)
            for code in OF_A_LOSS:
                db.execute(
                    "UPDATE log_alarm SET cleared_at = ?, cleared_by = ? WHERE code = ? AND cleared_at IS NULL",
                    (write_instant(now), f"epoch {epoch}", code),
                )
            self.record_epoch(epoch, now)

    def seen_at(self) -> str | None:
        """Return when the log was last seen to have grown."""
        rows = self._store.query("SELECT seen_at FROM log_seen ORDER BY size DESC LIMIT 1")
        return str(rows[0]["seen_at"]) if rows else None

    def record(self, seen: Seen, now: datetime) -> None:
        """Keep a checkpoint that was found consistent; the oldest beyond two thousand go."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO log_seen (size, root, note, seen_at) VALUES (?, ?, ?, ?)",
                (seen.checkpoint.size, seen.checkpoint.root, seen.note, write_instant(now)),
            )
            db.execute(
                "DELETE FROM log_seen WHERE size < (SELECT size FROM log_seen ORDER BY size DESC LIMIT 1 OFFSET ?)",
                (KEPT_CHECKPOINTS,),
            )

    def is_cosigned(self, size: int) -> bool:
        """Tell whether the hub has our cosignature of this size."""
        return bool(self._store.query("SELECT 1 FROM log_seen WHERE size = ? AND cosigned_at IS NOT NULL", (size,)))

    def mark_cosigned(self, size: int, now: datetime) -> None:
        """Note that the hub has our cosignature."""
        with self._store.transaction() as db:
            db.execute("UPDATE log_seen SET cosigned_at = ? WHERE size = ?", (write_instant(now), size))

    def quorum(self) -> Seen | None:
        """Return the newest checkpoint that a quorum of witnesses cosigned, or none."""
        rows = self._store.query("SELECT note FROM log_quorum WHERE id = 1")
        return _read_seen(rows[0]["note"]) if rows else None

    def record_quorum(self, seen: Seen, now: datetime) -> None:
        """Keep the newest such checkpoint, with its cosignatures."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO log_quorum VALUES (1, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET size = excluded.size, note = excluded.note, at = excluded.at",
                (seen.checkpoint.size, seen.note, write_instant(now)),
            )

    def reading(self) -> RightEdge:
        """Return how far the entries themselves were read, as the right edge of the tree that they make."""
        rows = self._store.query("SELECT size, edge FROM log_reading WHERE id = 1")
        if not rows:
            return RightEdge()
        edge = rows[0]["edge"]
        return RightEdge(rows[0]["size"], tuple(edge[at : at + HASH_BYTES] for at in range(0, len(edge), HASH_BYTES)))

    def record_reading(self, edge: RightEdge) -> None:
        """Keep how far the entries were read."""
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO log_reading VALUES (1, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET size = excluded.size, edge = excluded.edge",
                (edge.size, b"".join(edge.hashes)),
            )

    def remember_keys(self, kids: Sequence[str]) -> None:
        """Remember encryption keys as our own for ever: the log may be read after they are destroyed."""
        with self._store.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO log_own_key VALUES (?)", [(kid,) for kid in kids])

    def owns_key(self, kid: str) -> bool:
        """Tell whether an encryption key is or was our own."""
        return bool(self._store.query("SELECT 1 FROM log_own_key WHERE kid = ?", (kid,)))

    def raise_alarm(
        self, code: str, place: str, now: datetime, *, stops: bool = False, notes: tuple[str, str] = ("", "")
    ) -> bool:
        """Raise an alarm once; return whether it is new. ``stops``: proven, nothing is sent any more. ``notes`` are the evidence."""
        with self._store.transaction() as db:
            added = db.execute(
                "INSERT OR IGNORE INTO log_alarm (code, place, raised_at, stops, first, second) VALUES (?, ?, ?, ?, ?, ?)",
                (code, place, write_instant(now), int(stops), *notes),
            ).rowcount
        if added and stops:
            _log.critical("log_contradicts_itself", code=code, place=place, advice=USE_THE_TELEPHONE)
        elif added:
            _log.error("log_alarm", code=code, place=place)
        return bool(added)

    def settle_alarm(self, code: str) -> None:
        """Forget an alarm of lateness whose cause is over."""
        with self._store.transaction() as db:
            db.execute("DELETE FROM log_alarm WHERE code = ? AND stops = 0", (code,))

    def find_stop(self) -> str | None:
        """Return the code of the proven contradiction for which sending has stopped, or none."""
        rows = self._store.query("SELECT code FROM log_alarm WHERE stops = 1 AND cleared_at IS NULL LIMIT 1")
        return str(rows[0]["code"]) if rows else None

    def resume(self, by: str, now: datetime) -> bool:
        """Go on after a person has said so (a new epoch, say): the log is looked at as if for the first time. Return whether it was stopped."""
        with self._store.transaction() as db:
            cleared = db.execute(
                "UPDATE log_alarm SET cleared_at = ?, cleared_by = ? WHERE stops = 1 AND cleared_at IS NULL",
                (write_instant(now), by),
            ).rowcount
            if cleared:
                for table in ("log_seen", "log_quorum", "log_reading"):
                    db.execute(f"DELETE FROM {table}")  # noqa: S608 (constant names); the evidence is in log_alarm
        if cleared:
            _log.warning("log_stop_cleared", by=by)
        return bool(cleared)

    def describe(self) -> dict[str, Any]:
        """Return the state for people and programs: sizes, instants, alarm codes."""
        newest, quorum, stop = self.newest(), self.quorum(), self.find_stop()
        alarms = self._store.query(
            "SELECT code, place, raised_at, stops FROM log_alarm WHERE cleared_at IS NULL ORDER BY raised_at"
        )
        return {
            "state": "stopped" if stop else "alarm" if alarms else "ok",
            "advice": USE_THE_TELEPHONE if stop else None,
            "epoch": self.epoch(),
            "size": newest.checkpoint.size if newest else 0,
            "grew_at": self.seen_at(),
            "witnessed_size": quorum.checkpoint.size if quorum else 0,
            "entries_read": self.reading().size,
            "alarms": [
                {"code": a["code"], "place": a["place"], "raised_at": a["raised_at"], "stops": bool(a["stops"])}
                for a in alarms
            ],
        }

    def export(self, witness: str, verifier: str) -> LogState:
        """Return what was seen, evidence of contradictions included, to compare notes with other agencies."""
        rows = self._store.query("SELECT note FROM log_seen ORDER BY size")
        evidence = self._store.query("SELECT first, second FROM log_alarm WHERE stops = 1")
        notes = [row["note"] for row in rows] + [n for row in evidence for n in (row["first"], row["second"]) if n]
        return LogState(witness, verifier, tuple(dict.fromkeys(notes)))


def _read_seen(note: str) -> Seen:
    return Seen(read_checkpoint(note), note)
