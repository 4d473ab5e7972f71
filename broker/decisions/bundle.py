"""A policy pack as one text, national files and the local pack over them: what the hub keeps by digest and an approver reads before approving. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.decisions.layering import layer_files
from broker.decisions.pack import PolicyPack, load_pack_files, read_pack_files
from schemas.canonical import canonical_bytes, encode_base64url, parse_object
from schemas.errors import ConfigInvalid, IntegrityBroken, SafelaneError

MAX_BUNDLE_BYTES = 4 * 1024 * 1024
_MEMBERS = frozenset({"national", "local"})


def bundle_pack(folder: Path, local: Path | None = None) -> bytes:
    """Return the pack in ``folder``, with the local one in ``local`` over it, as canonical JSON: ``national`` and ``local``, file name to text.

    Raises:
        ConfigInvalid: a pack is not valid, or the local one does more than it may, or together they are over 4 MiB.
    """
    files = {"national": read_pack_files(folder), "local": read_pack_files(local) if local else None}
    body = canonical_bytes(files)
    if len(body) > MAX_BUNDLE_BYTES:
        raise ConfigInvalid(f"is over {MAX_BUNDLE_BYTES} bytes", field="policies")
    load_bundle(body)
    return body


def load_bundle(body: bytes) -> PolicyPack:
    """Load and validate a bundled pack, as if from its folders.

    Raises:
        ConfigInvalid: it is not of its form, the pack is not valid, or its local part does more than it may.
    """
    try:
        data = parse_object(body, max_bytes=MAX_BUNDLE_BYTES, max_depth=4, field="policies")
    except SafelaneError as error:
        raise ConfigInvalid(f"is no bundled pack ({error.code})", field="policies") from None
    local = data.get("local")
    if set(data) != _MEMBERS or not _is_files(data["national"]) or not (local is None or _is_files(local)):
        raise ConfigInvalid(
            "is no bundled pack: it needs national and local, each file names to texts", field="policies"
        )
    pack = load_pack_files(data["national"])
    return layer_files(pack, local) if local is not None else pack


def load_stored(body: bytes, digest: str) -> PolicyPack:
    """Load a bundled pack that was stored under ``digest``.

    Raises:
        IntegrityBroken: it is not the pack of that digest.
        ConfigInvalid: this program cannot load it (it was written for another version).
    """
    pack = load_bundle(body)
    if pack.digest != digest:
        raise IntegrityBroken("a stored policy pack is not the one of its digest", field="policy_packs.body")
    return pack


def write_digest(pack_digest: str) -> str:
    """Return a pack's digest (hexadecimal, as directories and decision records name it) in the form that signed objects use, base64url.

    Raises:
        ConfigInvalid: it is not one.
    """
    try:
        raw = bytes.fromhex(pack_digest)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ConfigInvalid("is no digest of a policy pack", field="policy_digest")
    return encode_base64url(raw)


def _is_files(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())
