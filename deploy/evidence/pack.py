"""An evidence pack as files: a folder, or one zip. Names are fixed, sizes are bounded, nothing is ever unpacked to disk to be read."""

import io
import zipfile
from pathlib import Path
from typing import Any, Final

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.errors import ConfigInvalid, MalformedMessage, TooLarge

FORMAT: Final = "safelane-evidence-1"
MANIFEST: Final = "pack.json"
MAX_FILES: Final = 5_000
MAX_BYTES: Final = 512 * 1024 * 1024

Files = dict[str, bytes]
"""Path within the pack to bytes."""


def seal_pack(files: Files, **facts: Any) -> Files:
    """Return the files with ``pack.json``: what the pack is about, and every file's digest."""
    members = {
        "format": FORMAT,
        **facts,
        "files": {name: sha256_base64url(data) for name, data in sorted(files.items())},
    }
    return {**files, MANIFEST: canonical_bytes(members) + b"\n"}


def zip_pack(files: Files) -> bytes:
    """Return a pack as the bytes of a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def write_pack(files: Files, out: Path) -> None:
    """Write a pack to ``out``: a zip if it is named so, else a new folder.

    Raises:
        ConfigInvalid: something is there already, or it cannot be written.
    """
    if out.exists():
        raise ConfigInvalid("exists already", field="out")
    try:
        if out.suffix == ".zip":
            out.write_bytes(zip_pack(files))
            return
        for name, data in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError:
        raise ConfigInvalid("cannot be written", field="out") from None


def read_pack(source: Path) -> Files:
    """Read a pack from a folder or a zip.

    Raises:
        ConfigInvalid: it cannot be read.
        TooLarge: it is over the limits.
        MalformedMessage: it is not a pack.
    """
    try:
        files = _read_zip(source) if source.is_file() else _read_folder(source)
    except (OSError, zipfile.BadZipFile, ValueError):
        raise ConfigInvalid("cannot be read", field="pack") from None
    if MANIFEST not in files:
        raise MalformedMessage("is not an evidence pack", field="pack")
    return files


def read_manifest(files: Files) -> dict[str, Any]:
    """Return ``pack.json``.

    Raises:
        MalformedMessage: it is not of the form.
    """
    found = parse_object(files[MANIFEST], max_bytes=4_000_000, field=MANIFEST)
    if found.get("format") != FORMAT or not isinstance(found.get("files"), dict):
        raise MalformedMessage("is not an evidence pack", field=MANIFEST)
    return found


def _read_zip(source: Path) -> Files:
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise TooLarge(f"more than {MAX_BYTES} bytes or {MAX_FILES} files", field="pack")
        return {entry.filename: archive.read(entry) for entry in entries if not entry.is_dir()}


def _read_folder(source: Path) -> Files:
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.is_symlink()]
    if len(paths) > MAX_FILES or sum(path.stat().st_size for path in paths) > MAX_BYTES:
        raise TooLarge(f"more than {MAX_BYTES} bytes or {MAX_FILES} files", field="pack")
    return {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}
