"""Processor time of the servers: what a program costs its machine is more than what its own process burns.

Read from ``/proc`` (proc(5), fields 14 to 17 of ``stat``): a process and all below it, with children that have ended and were waited for.
Other people's load moves rates far more than it moves these figures.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def read_processor_seconds(pid: int) -> float:
    """Return the seconds of processor time that ``pid``, and all processes below it, have used so far (resolution: about 10 ms)."""
    stats = dict(_read_all())
    below, seconds = {pid}, 0.0
    for process, (parent, _) in sorted(
        stats.items()
    ):  # a parent is listed before its children but for a wrap of the ids
        if parent in below:
            below.add(process)
    for process in below & stats.keys():
        seconds += stats[process][1]
    return seconds


class ServersTime:
    """What each server uses between ``start`` and ``read``."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        """Take the name and process id of each server, and start."""
        self._pids = dict(pids)
        self._started = {name: read_processor_seconds(pid) for name, pid in self._pids.items()}

    def read(self) -> dict[str, float]:
        """Return seconds of processor time since the start, by name."""
        return {name: read_processor_seconds(pid) - self._started[name] for name, pid in self._pids.items()}


def _read_all() -> list[tuple[int, tuple[int, float]]]:
    """Return (pid, (parent, seconds)) of every process that can be read."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        ticks = sum(int(value) for value in fields[11:15])
        found.append((int(folder.name), (int(fields[1]), ticks / _TICKS)))
    return found
