"""Files of the embedded stack: secrets with mode 0600, whole or not at all."""

import os
import secrets
from pathlib import Path


def write_secret(path: Path, content: bytes | str) -> None:
    """Write ``content`` to ``path`` with mode 0600 from the first byte, durably and in one step."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)


def read_or_make_secret(path: Path, *, size: int = 24) -> str:
    """Return the secret in ``path``, made at random (``size`` bytes, URL-safe) when the file is missing."""
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(size))
    return path.read_text().strip()


def show_path(path: Path) -> Path:
    """Return ``path`` as people type it from here."""
    here = Path.cwd()
    absolute = path.absolute()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute
