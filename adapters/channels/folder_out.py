"""Output to a folder: one sub-folder for each delivery, with JSON, a readable PDF and the attachments.

A case system (or a person) may read a sub-folder as soon as it is there: it is written under a hidden name, flushed to disk, and renamed. Writing
it again changes nothing. Its name is an instant and an id, never anything about a child.
"""

import base64
import binascii
import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import structlog

from adapters.channels.pdf import render_pdf
from adapters.gateway.incoming.inbox_config import FolderConfig
from adapters.gateway.incoming.received import ReceivedReferral
from schemas.errors import DependencyUnavailable

_log = structlog.get_logger(__name__)

_EXTENSIONS = {
    "application/pdf": "pdf",
    "image/jpeg": "jpg",
    "image/png": "png",
    "text/plain": "txt",
    "application/json": "json",
}
_DATA_FIELDS = ("data_b64", "data", "b64")
_SAFE_NAME = re.compile(r"^[A-Za-z0-9_-]{1,80}(\.[0-9]+)?$")


def write_delivery(referral: ReceivedReferral, config: FolderConfig) -> Path:
    """Write the sub-folder of ``referral`` and return it. Idempotent: a finished one is left as it is.

    Raises:
        DependencyUnavailable: the folder cannot be written (full, gone, no rights); try again later.
    """
    final = config.out_folder / name_folder(referral)
    if final.exists():
        return final
    draft = config.out_folder / f".{final.name}.part"
    try:
        config.out_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if draft.exists():
            shutil.rmtree(draft)  # left by a crash before the rename: nobody was told of it
        draft.mkdir(mode=0o700)
        for name, data in _list_files(referral, config):
            _write_file(draft / name, data)
        _flush_folder(draft)
        draft.rename(final)
        _flush_folder(config.out_folder)
    except OSError:
        if final.exists():
            return final
        raise DependencyUnavailable("the output folder cannot be written", field="out_folder") from None
    return final


def erase_delivery(out_folder: Path, delivery_id: str) -> int:
    """Erase every sub-folder that was written for a delivery, later releases and unfinished ones included; return how many there were.

    What a case system has copied or moved away is its own to delete.

    Raises:
        DependencyUnavailable: one cannot be erased.
    """
    identifier = delivery_id if _SAFE_NAME.match(delivery_id) else delivery_id.encode().hex()
    written = re.compile(rf"\.?\d{{8}}T\d{{6}}Z-{re.escape(identifier)}(\.[0-9]+)?(\.part)?")
    try:
        found = [f for f in out_folder.iterdir() if written.fullmatch(f.name)] if out_folder.is_dir() else []
        for folder in found:
            shutil.rmtree(folder)
        if found:
            _flush_folder(out_folder)
    except OSError:
        raise DependencyUnavailable(
            "files handed to the output folder cannot be erased: delete them, or give their rights back, then confirm again",
            field="out_folder",
        ) from None
    return len(found)


def name_folder(referral: ReceivedReferral) -> str:
    """Return the sub-folder's name: when it was received (UTC) and the delivery's id, so that names sort by time."""
    identifier = referral.release_id if _SAFE_NAME.match(referral.release_id) else referral.release_id.encode().hex()
    return f"{referral.received_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{identifier}"


def _list_files(referral: ReceivedReferral, config: FolderConfig) -> Iterator[tuple[str, bytes]]:
    if config.json_file:
        text = json.dumps(referral.to_json(), ensure_ascii=False, indent=1)
        yield "referral.json", text.encode() + b"\n"
    if config.pdf_file:
        yield _render_page(referral)
    for number, attachment in enumerate(list_attachments(referral), start=1):
        data = _read_attachment(attachment)
        if data is not None:
            extension = _EXTENSIONS.get(str(attachment.get("media_type") or attachment.get("mime")), "bin")
            yield f"attachment-{number:02}.{extension}", data


def _render_page(referral: ReceivedReferral) -> tuple[str, bytes]:
    try:
        return "referral.pdf", render_pdf(referral)
    except Exception as error:  # noqa: BLE001 - whatever a sender wrote: a referral without its page is better than none
        _log.error("page_not_made", delivery_id=referral.delivery_id, error=type(error).__name__)
        return "referral.pdf.failed.txt", b"The readable page could not be made. Read referral.json, or the inbox.\n"


def list_attachments(referral: ReceivedReferral) -> list[dict[str, Any]]:
    """Return every attachment of the received sections, in order."""
    return [dict(attachment) for section in referral.sections for attachment in section.attachments]


def _read_attachment(attachment: dict[str, Any]) -> bytes | None:
    encoded = next((v for k in _DATA_FIELDS if (v := attachment.get(k))), None)
    if not isinstance(encoded, str):
        return None
    try:
        return base64.b64decode(encoded.replace("-", "+").replace("_", "/") + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return encoded.encode()  # not base64: kept as it came rather than lost


def _write_file(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
