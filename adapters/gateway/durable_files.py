"""Files that a crash cannot tear: written beside, flushed, and moved into place; private ones readable by their owner alone."""

import os
import stat
from pathlib import Path

from schemas.errors import ConfigInvalid, DependencyUnavailable

OWNER_ONLY = 0o600


def write_durably(path: Path, data: bytes, *, mode: int = OWNER_ONLY) -> None:
    """Replace ``path`` by ``data``: after a crash the file holds the old bytes or the new ones, whole.

    Raises:
        DependencyUnavailable: the disk is full or the folder cannot be written.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        flush_folder(path.parent)
    except OSError:
        raise DependencyUnavailable("a file cannot be written", field=path.name) from None


def flush_folder(folder: Path) -> None:
    """Flush a folder's own entry list to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private_file(path: Path, *, field: str, max_bytes: int = 64 * 1024) -> bytes:
    """Read a secret; refuse one that others may read.

    Raises:
        ConfigInvalid: it is missing, too large, or readable by the group or by others.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigInvalid("must be readable by its owner alone (chmod 600)", field=field)
            data = file.read(max_bytes + 1)
    except OSError:
        raise ConfigInvalid("the file cannot be read", field=field) from None
    if len(data) > max_bytes:
        raise ConfigInvalid(f"more than {max_bytes} bytes", field=field)
    return data
