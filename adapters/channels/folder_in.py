"""A watched drop folder: files go in, and end in ``done/`` or in ``failed/`` with a readable reason beside them.

A file is taken when it has kept its size and time for a while (it may still be being written), whatever its own clock says, the urgent ones first. It is moved only after what was
good in it is on disk; a crash in between reads it again, and the same record has one effect. The reason says record, field and rule, never a value.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from adapters.gateway.config import DropFolder
from adapters.gateway.durable_files import flush_folder, write_durably
from adapters.gateway.outgoing.intake import DocumentIntake, IncomingDocument
from adapters.gateway.outgoing.outbox_model import AcceptedDocument
from schemas.errors import ConfigInvalid, DependencyUnavailable, SafelaneError

_log = structlog.get_logger(__name__)

DONE = "done"
FAILED = "failed"
_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload", "~")
MAX_FILES_A_TURN = 500
MAX_TRIES = 3
MAX_FAULTS_WRITTEN = 200
_MOST_NAME_BYTES = 200
"""Of a name in ``done/`` or ``failed/``: file systems take 255, and a number and ``.reason.txt`` come after it."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    path: Path
    size: int
    changed: float

    @property
    def stamp(self) -> tuple[str, int, float]:
        return self.path.name, self.size, self.changed


class FolderWatcher:
    """The drop folder of one agency. ``now`` is the file system's clock in seconds (``time.time``)."""

    def __init__(self, folder: DropFolder, intake: DocumentIntake, now: Callable[[], float]) -> None:
        """Make the folder and its ``done/`` and ``failed/``.

        Raises:
            ConfigInvalid: they cannot be made.
        """
        self._folder = folder
        self._intake = intake
        self._now = now
        self._urgent: dict[tuple[str, int, float], bool] = {}
        self._tries: dict[tuple[str, int, float], int] = {}
        self._first_seen: dict[tuple[str, int, float], float] = {}
        try:
            for part in (folder.path, folder.path / DONE, folder.path / FAILED):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            raise ConfigInvalid("the folder cannot be made", field="drop_folder.path") from None

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until ``stop`` is set."""
        while not stop.is_set():
            await asyncio.to_thread(self.take_all)
            try:
                await asyncio.wait_for(stop.wait(), timeout=self._folder.poll.total_seconds())
            except TimeoutError:
                continue

    def take_all(self) -> int:
        """Take every settled file, urgent ones first; return how many were moved away. A file that must wait stays where it is."""
        moved = 0
        waiting = self._list_settled()
        stamps = {item.stamp for item in waiting}
        self._urgent = {k: v for k, v in self._urgent.items() if k in stamps}
        self._tries = {k: v for k, v in self._tries.items() if k in stamps}
        for item in sorted(
            waiting, key=lambda w: (not self._is_urgent(w, alone=len(waiting) == 1), w.changed, w.path.name)
        ):
            try:
                moved += self._take(item)
            except DependencyUnavailable as error:
                _log.warning("drop_folder_waits", code=error.code)
                break
        return moved

    def _list_settled(self) -> list[_Waiting]:
        now = self._now()
        newest = now - self._folder.settle.total_seconds()
        found: list[_Waiting] = []
        seen: dict[tuple[str, int, float], float] = {}
        with os.scandir(self._folder.path) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.lower().endswith(_UNFINISHED):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue  # it was taken away meanwhile
                if not stat.S_ISREG(status.st_mode):
                    continue
                item = _Waiting(Path(entry.path), status.st_size, status.st_mtime)
                # Whoever wrote it may have a clock that runs ahead: then it has settled when it has not changed for as long.
                seen[item.stamp] = self._first_seen.get(item.stamp, now)
                if min(status.st_mtime, seen[item.stamp]) <= newest:
                    found.append(item)
                if len(found) >= MAX_FILES_A_TURN:
                    break
        self._first_seen = seen
        return found

    def _is_urgent(self, item: _Waiting, *, alone: bool) -> bool:
        """Look into a file to see whether a child in danger waits in it; with nothing to overtake, do not look."""
        if alone or item.size > self._folder.max_bytes:
            return False
        if item.stamp not in self._urgent:
            try:
                _, outcomes = self._intake.preview(IncomingDocument(_read_bytes(item), item.path.name, "folder"))
                urgent = any(outcome.referral is not None and outcome.referral.urgent for outcome in outcomes)
            except (SafelaneError, OSError):
                urgent = False  # the reason is found and written when the file is taken
            self._urgent[item.stamp] = urgent
        return self._urgent[item.stamp]

    def _take(self, item: _Waiting) -> bool:
        if item.size > self._folder.max_bytes:
            reason = f"The file is larger than {self._folder.max_bytes} bytes. Nothing of it was read or sent.\n"
            return self._move(item.path, FAILED, reason)
        try:
            body = _read_bytes(item)
            if len(body) != item.size:
                return False  # it is still being written after all
            accepted = self._intake.take(IncomingDocument(body, item.path.name, "folder"))
        except DependencyUnavailable:
            raise
        except SafelaneError as error:
            return self._move(item.path, FAILED, f"Nothing was sent.\n{_describe(None, error.field, error.detail)}")
        except Exception as error:  # noqa: BLE001 - one file must not stop the folder; the type alone is logged
            _log.error("drop_folder_fault", error=type(error).__name__)
            return self._give_up_later(item, "The file could not be read because of a fault in this program.\n")
        bad = bool(accepted.answer["errors"])
        return self._move(item.path, FAILED if bad else DONE, write_reason(accepted) if bad else None)

    def _give_up_later(self, item: _Waiting, reason: str) -> bool:
        self._tries[item.stamp] = self._tries.get(item.stamp, 0) + 1
        if self._tries[item.stamp] < MAX_TRIES:
            return False
        return self._move(item.path, FAILED, reason + "Nothing was sent.\n")

    def _move(self, path: Path, folder: str, reason: str | None) -> bool:
        target = self._free_name(self._folder.path / folder, path.name)
        try:
            if reason is not None:
                write_durably(_beside(target), reason.encode())
            path.rename(target)
            flush_folder(target.parent)
        except OSError:
            _log.error("drop_folder_cannot_move", folder=folder)
            return False
        return True

    def _free_name(self, folder: Path, name: str) -> Path:
        """Return a name that is free in ``folder``, as is the one of its reason, so that nothing there is overwritten."""
        stem, suffix = _cut(Path(name).stem, _MOST_NAME_BYTES - 40), _cut(Path(name).suffix, 40)
        target, number = folder / f"{stem}{suffix}", 1
        while target.exists() or _beside(target).exists():
            number += 1
            target = folder / f"{stem}.{number}{suffix}"
        return target


def _read_bytes(item: _Waiting) -> bytes:
    """Return what is in a file: at most one byte more than it had when it was seen, however much it has grown.

    One that was changed for a link since then is an ``OSError``: a link is never followed.
    """
    with os.fdopen(os.open(item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        return file.read(item.size + 1)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.reason.txt")


def _cut(name: str, most_bytes: int) -> str:
    return os.fsdecode(os.fsencode(name)[:most_bytes])


def write_reason(accepted: AcceptedDocument) -> str:
    """Return the readable reason for a file that was refused, wholly or in part."""
    good, faults = accepted.answer["referrals"], accepted.answer["errors"]
    lines = []
    if good:
        numbers = ", ".join(str(entry["number"]) for entry in good)
        lines.append(f"Taken in and on their way: {len(good)} of {len(good) + len(faults)} records (number {numbers}).")
    else:
        lines.append("Nothing was sent.")
    lines += [_describe(f["number"], f["field"], f["detail"]).rstrip() for f in faults[:MAX_FAULTS_WRITTEN]]
    if len(faults) > MAX_FAULTS_WRITTEN:
        lines.append(f"and {len(faults) - MAX_FAULTS_WRITTEN} more")
    lines.append("Correct it and put the file here again. Records that were taken in before have no second effect.")
    return "\n".join(lines) + "\n"


def _describe(number: int | None, field: str | None, detail: str) -> str:
    where = "Whole file" if number is None else f"Record {number}"
    return f"{where}: {field or '(document)'}: {detail}\n"
