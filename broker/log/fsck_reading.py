"""How ``fsck`` reads what is stored: signed objects, messages and events, by hand, and never in a way that rubbish could stop. Pure."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from schemas.envelope.model import REFERRAL_TYP
from schemas.errors import SafelaneError
from schemas.jose import verify_jws
from schemas.keys import VerifyingKeys
from schemas.objects import verify_object

Signers = Mapping[str, Sequence[VerifyingKeys]]
Note = Callable[[str, str], None]

_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """What a stored message says of itself: its manifest, and what of its header can still be opened (none once its sealed bytes are erased)."""

    digest: str
    signed: Mapping[str, Any] = field(repr=False)
    """The manifest as it was signed."""
    manifest: Mapping[str, Any]
    entries: Mapping[str, Any] | None = field(repr=False)

    def entry(self, name: str) -> Mapping[str, Any]:
        """Return a member of the header, empty where there is none."""
        found = (self.entries or {}).get(name)
        return found if isinstance(found, dict) else {}

    def tokens(self) -> list[str]:
        """Return the subjects' tokens, as ``message_subjects`` has them."""
        routing = [value for name, value in (self.entries or {}).items() if name.startswith("subject-routing:")]
        return sorted({f"{t['scheme']}|{t['pepper_id']}|{t['value']}" for r in routing for t in r.get("tokens", ())})

    def granted(self, delivery_id: str) -> frozenset[str]:
        """Return the sections whose keys are in a delivery's first keyring."""
        return frozenset((self.entries or {}).get(f"grants:{delivery_id}") or ())

    def sections(self) -> frozenset[str]:
        """Return the ids of the sections that were sealed."""
        return frozenset(name.partition(":")[2] for name in self.entries or {} if name.startswith("section:"))


def read_message(body: bytes | None, manifest: bytes | None) -> ReadMessage | None:
    """Read a message, or the manifest that erasing left of it; none where it is not one, or an opening is not what the manifest declares."""
    try:
        whole = json.loads(body) if body is not None else {"manifest": json.loads(manifest or b"")}
        payload = whole["manifest"]["payload"]
        facts = json.loads(decode(payload))
        entries = _read_entries(whole["openings"], frozenset(facts["digests"])) if body is not None else None
        return ReadMessage(digest(decode(payload)), whole["manifest"], facts, entries)
    except _UNREADABLE:
        return None


def _read_entries(openings: Sequence[str], declared: frozenset[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for opening in openings:
        if digest(opening.encode()) not in declared:
            raise ValueError("an opening is not declared")
        _, name, value = json.loads(decode(opening))
        found[name] = value
    return found


def read_payload(body: bytes | None) -> tuple[str, Mapping[str, Any]] | None:
    """Return digest and members of a signed object's payload, or none where it is no signed object."""
    try:
        raw = decode(json.loads(body or b"")["payload"])
        members = json.loads(raw)
    except _UNREADABLE:
        return None
    return (digest(raw), members) if isinstance(members, dict) else None


def read_json(text: bytes | str | None) -> dict[str, Any]:
    """Return the members of a stored event, notice or decision; none where it is no object."""
    try:
        found = json.loads(text or b"{}")
    except _UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def is_signed(object_type: str, body: bytes, keys: Sequence[VerifyingKeys]) -> bool:
    """Tell whether one of ``keys`` signed an object as this type."""
    try:
        verify_object(object_type, body, keys)
    except SafelaneError:
        return False
    return True


def is_manifest_signed(read: ReadMessage, keys: Sequence[VerifyingKeys]) -> bool:
    """Tell whether one of ``keys`` signed a message's manifest."""
    try:
        verify_jws(read.signed, keys, REFERRAL_TYP)
    except SafelaneError:
        return False
    return True


def is_same(stored: Any, told: Any) -> bool:
    """Tell whether a column holds what an event or a signed object says: ids, instants and digests are text there."""
    if isinstance(stored, datetime):
        try:
            return isinstance(told, str) and bool(datetime.fromisoformat(told) == stored)
        except (ValueError, TypeError):
            return False
    if isinstance(stored, UUID):
        return bool(str(stored) == told)
    if isinstance(stored, bytes):
        return bool(encode(stored) == told)
    if isinstance(stored, list):
        return isinstance(told, list | tuple) and bool(stored == list(told))
    return bool(stored == told)


def differ(row: Any, told: Mapping[str, Any], names: Mapping[str, str] | Sequence[str]) -> bool:
    """Tell whether any column differs from the member that it is written from: ``names`` are columns, or column to member."""
    pairs = names.items() if isinstance(names, Mapping) else ((name, name) for name in names)
    return any(not is_same(row[column], told.get(member)) for column, member in pairs)


def decode(text: str) -> bytes:
    """Return base64url's bytes; raise ``ValueError`` where it is not in its one right form."""
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(raw) != text:
        raise binascii.Error("is not base64url")
    return raw


def encode(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def digest(raw: bytes) -> str:
    """Return SHA-256, base64url."""
    return encode(hashlib.sha256(raw).digest())
