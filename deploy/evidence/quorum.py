"""Whether a quorum of the directory's witnesses cosigned a checkpoint, and since when that is known, in words."""

from dataclasses import dataclass
from datetime import UTC, datetime

from schemas.directory import Directory
from schemas.witnesses import find_cosigners, read_witnesses


@dataclass(frozen=True, slots=True)
class Quorum:
    """The witnesses that cosigned, and the instant by which so many as the directory asks for had done it."""

    names: tuple[str, ...]
    since: datetime
    post_quantum: int
    """How many of them signed with an ML-DSA key also."""


def find_quorum(note: str, directory: Directory) -> Quorum | None:
    """Return the quorum that cosigned ``note``, or none where the directory asks for more or for none at all.

    Raises:
        MalformedMessage: it is not a signed checkpoint.
    """
    witnesses = read_witnesses(directory)
    found, needed = find_cosigners(note, witnesses), directory.witnesses.quorum
    if not 0 < needed <= len(found):
        return None
    strong = {witness.name for witness in witnesses if witness.is_post_quantum() and witness.find_time(note)}
    return Quorum(tuple(sorted(found)), datetime.fromtimestamp(sorted(found.values())[needed - 1], tz=UTC), len(strong))


def describe_quorum(quorum: Quorum, directory: Directory) -> str:
    """Return since when, by whom, and with what kind of keys."""
    also = f"; {quorum.post_quantum} of them with ML-DSA-44 keys also" if quorum.post_quantum else ""
    return (
        f"{quorum.since:%d %B %Y %H:%M:%S} UTC: cosigned by {len(quorum.names)} witnesses,"
        f" {directory.witnesses.quorum} needed ({', '.join(quorum.names)}){also}"
    )


def describe_shortage(note: str, directory: Directory) -> str:
    """Return why there is no quorum.

    Raises:
        MalformedMessage: it is not a signed checkpoint.
    """
    if not directory.witnesses.quorum:
        return "the directory names no witnesses"
    found = find_cosigners(note, read_witnesses(directory))
    return f"{len(found)} of {directory.witnesses.quorum} needed cosignatures"
