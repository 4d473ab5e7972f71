"""An evidence pack as files: a folder, or one zip. Names are fixed, sizes are bounded, nothing is ever unpacked to disk to be read."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

from schemas.canonical import canonical_bytes, parse_object, sha256_base64url
from schemas.errors import ConfigInvalid, Conflict, IntegrityBroken, MalformedMessage, TooLarge

FORMAT: Final = "safelane-evidence-1"
MANIFEST: Final = "pack.json"
MAX_FILES: Final = 5_000
MAX_BYTES: Final = 512 * 1024 * 1024

_ZIP: Final = b"PK\x03\x04"

Files = dict[str, bytes]
"""Path within the pack to bytes."""


class PackDamaged(IntegrityBroken):
    """A pack's bytes are not those that were written."""

    code = "pack-damaged"
    public_message = "This file is not what was exported: it proves nothing. Get the pack again from who made it."


class OutputTaken(Conflict):
    """A pack is never written over something."""

    public_message = "Nothing was written."


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
        OutputTaken: something is there already.
        ConfigInvalid: it cannot be written.
    """
    if out.exists():
        raise OutputTaken("exists already: give another name", field="out")
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
        PackDamaged: it is a zip whose bytes are not those that were written.
    """
    try:
        files = _read_zip(source) if source.is_file() else _read_folder(source)
    except OSError:
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


def _read_start(source: Path) -> bytes:
    with source.open("rb") as file:
        return file.read(len(_ZIP))


def _read_zip(source: Path) -> Files:
    if _read_start(source) != _ZIP:
        raise MalformedMessage("is not an evidence pack", field="pack")
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise TooLarge(f"more than {MAX_BYTES} bytes or {MAX_FILES} files", field="pack")
            return {entry.filename: archive.read(entry) for entry in entries if not entry.is_dir()}
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError):
        # Whatever a changed byte makes of the zip's structure: its checksums, its method, its names.
        raise PackDamaged("the zip is damaged or was changed", field="pack") from None


def _read_folder(source: Path) -> Files:
    paths = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.is_symlink()]
    if len(paths) > MAX_FILES or sum(path.stat().st_size for path in paths) > MAX_BYTES:
        raise TooLarge(f"more than {MAX_BYTES} bytes or {MAX_FILES} files", field="pack")
    return {path.relative_to(source).as_posix(): path.read_bytes() for path in paths}
