"""Verification at the hub: the only way to a ``VerifiedEnvelope``. Nothing is opened, and no section is written again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.canonical import parse_object, sha256_base64url
from schemas.envelope.entries import check_digests, read_openings
from schemas.envelope.errors import NotFresh, UndeclaredEntry
from schemas.envelope.model import (
    MAX_ENVELOPE_BYTES,
    MAX_KEYRINGS,
    MAX_MANIFEST_BYTES,
    MAX_OPENINGS,
    MAX_SECTIONS,
    REFERRAL_TYP,
    KeyringDescriptor,
    Manifest,
    SectionDescriptor,
    is_fresh,
)
from schemas.envelope.sections import check_keyring, check_sections, keyring_binding
from schemas.errors import MalformedMessage, SignatureInvalid, TooLarge
from schemas.header import RoutingHeader
from schemas.jose.jws import peek_payload, verify_jws
from schemas.keys import VerifyingKeys
from schemas.validation import name_first_fault

_VERIFIED = object()
Entry = TypeVar("Entry", bound=BaseModel)
_ENVELOPE_MEMBERS = frozenset({"manifest", "openings", "sections", "keyrings"})


@dataclass(frozen=True, slots=True)
class UnverifiedEnvelope:
    """An envelope of the right shape, of which nothing may be believed yet."""

    manifest: Mapping[str, Any]
    openings: tuple[str, ...] = field(repr=False)
    sections: Mapping[str, str] = field(repr=False)
    keyrings: Mapping[str, Mapping[str, str]] = field(repr=False)

    def claimed_sender(self) -> str:
        """Return who the envelope says it is from: only to find the keys with which to verify it.

        Raises:
            MalformedMessage: it does not say.
        """
        return read_claimed_sender(self.manifest)


@dataclass(frozen=True, slots=True)
class VerifiedEnvelope:
    """An envelope whose signatures, openings, digests, labels and bindings are all verified. Only ``verify_envelope`` makes one."""

    manifest: Manifest
    manifest_jws: Mapping[str, Any] = field(repr=False)
    manifest_digest: str
    header: RoutingHeader = field(repr=False)
    openings: Mapping[str, str] = field(repr=False)
    """Entry name to opening."""
    descriptors: Mapping[str, SectionDescriptor] = field(repr=False)
    sections: Mapping[str, str] = field(repr=False)
    keyring_descriptors: Mapping[str, KeyringDescriptor]
    keyrings: Mapping[str, Mapping[str, str]] = field(repr=False)
    witness: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.witness is not _VERIFIED:
            raise TypeError("only verify_envelope makes a VerifiedEnvelope")


def parse_envelope(body: bytes) -> UnverifiedEnvelope:
    """Read an envelope's outer form strictly. Nothing in it is believed.

    Raises:
        TooLarge: over ``MAX_ENVELOPE_BYTES``, nested too deep, or too many openings, sections or keyrings.
        MalformedMessage: not strict JSON of the form.
    """
    members = parse_object(body, max_bytes=MAX_ENVELOPE_BYTES, field="envelope")
    if members.keys() != _ENVELOPE_MEMBERS:
        raise MalformedMessage("must hold manifest, openings, sections and keyrings", field="envelope")
    keyrings = read_map(members["keyrings"], "keyrings", MAX_KEYRINGS, dict)
    return UnverifiedEnvelope(
        manifest=read_map(members["manifest"], "manifest", 2, object),
        openings=read_opening_list(members["openings"]),
        sections=read_map(members["sections"], "sections", MAX_SECTIONS, str),
        keyrings={name: read_map(jwe, "keyrings", 8, str) for name, jwe in keyrings.items()},
    )


def verify_envelope(
    unverified: UnverifiedEnvelope, sender_keys: Sequence[VerifyingKeys], *, now: datetime, sender: str | None = None
) -> VerifiedEnvelope:
    """Verify an envelope with the sender's keys from the directory, at the real time ``now``.

    ``sender`` is who RabbitMQ says published it: the manifest must name the same agency.

    Raises:
        SignatureInvalid: a signature is missing or does not verify, or the manifest names another sender.
        NotFresh: it has expired or its times are wrong.
        UndeclaredEntry: it carries an entry, section or keyring that the manifest does not declare, or lacks one that it does.
        DigestMismatch: a section or keyring is not the one that was signed.
        LabelMismatch: a section's header and descriptor disagree.
        ForeignKeyring: a keyring belongs elsewhere.
        MalformedMessage: a part is not of its form.
    """
    payload = verify_jws(unverified.manifest, sender_keys, REFERRAL_TYP)
    manifest = read_manifest(payload)
    if sender is not None and manifest.sender != sender:
        raise SignatureInvalid
    if not is_fresh(manifest, now):
        raise NotFresh(field="manifest.expires_at")
    entries = read_openings(unverified.openings, check_digests(manifest.digests))
    descriptors = read_entries(entries, "section", "section_id", SectionDescriptor)
    keyrings = read_entries(entries, "keyring", "delivery_id", KeyringDescriptor)
    header = read_header(entries)
    _check_references(header, descriptors, keyrings)
    if unverified.sections.keys() != descriptors.keys():
        raise UndeclaredEntry("sections and their descriptors differ", field="sections")
    if unverified.keyrings.keys() != keyrings.keys():
        raise UndeclaredEntry("keyrings and their descriptors differ", field="keyrings")
    check_sections(unverified.sections, descriptors, manifest.message_id, manifest.sender)
    for delivery_id, jwe in unverified.keyrings.items():
        binding = keyring_binding(manifest.message_id, manifest.sender, delivery_id)
        check_keyring(jwe, keyrings[delivery_id], binding)
    return VerifiedEnvelope(
        manifest=manifest,
        manifest_jws=unverified.manifest,
        manifest_digest=sha256_base64url(payload),
        header=header,
        openings={name: opening for name, (opening, _) in entries.items()},
        descriptors=descriptors,
        sections=unverified.sections,
        keyring_descriptors=keyrings,
        keyrings=unverified.keyrings,
        witness=_VERIFIED,
    )


def read_manifest(payload: bytes) -> Manifest:
    """Read a manifest whose signatures have been verified.

    Raises:
        MalformedMessage: it is not of its form, or its suite is not known here.
    """
    members = parse_object(payload, max_bytes=MAX_MANIFEST_BYTES, max_depth=4, field="manifest")
    return _validate(Manifest, members, "manifest")


def read_claimed_sender(manifest: Mapping[str, Any]) -> str:
    """Return the sender that an unverified manifest names.

    Raises:
        MalformedMessage: it names none.
    """
    members = parse_object(peek_payload(manifest), max_bytes=MAX_MANIFEST_BYTES, max_depth=4, field="manifest")
    sender = members.get("sender")
    if not isinstance(sender, str):
        raise MalformedMessage("must name its sender", field="manifest.sender")
    return sender


def read_opening_list(value: object) -> tuple[str, ...]:
    """Return openings as a tuple of strings.

    Raises:
        MalformedMessage: they are not a list of strings.
        TooLarge: there are more than ``MAX_OPENINGS``.
    """
    if not isinstance(value, list) or any(type(opening) is not str for opening in value):
        raise MalformedMessage("must be a list of strings", field="openings")
    if len(value) > MAX_OPENINGS:
        raise TooLarge(f"more than {MAX_OPENINGS}", field="openings")
    return tuple(value)


def read_entries(
    entries: Mapping[str, tuple[str, Any]], prefix: str, id_field: str, form: type[Entry]
) -> dict[str, Entry]:
    """Return id to entry for the opened entries named ``prefix:<id>``.

    Raises:
        MalformedMessage: an entry is not of its form, or is named after another.
    """
    found: dict[str, Entry] = {}
    for name, (_, value) in entries.items():
        if not name.startswith(prefix):
            continue
        label, _, entry_id = name.partition(":")
        if label == prefix:
            found[entry_id] = _validate(form, value, prefix)
            if getattr(found[entry_id], id_field) != entry_id:
                raise MalformedMessage("an entry's name and content disagree", field=prefix)
    return found


def read_header(entries: Mapping[str, tuple[str, Any]]) -> RoutingHeader:
    """Return the routing header of opened entries, each delivery with what is granted to it.

    Raises:
        MalformedMessage: an entry is missing, repeated or not of its form.
        UndeclaredEntry: a grant names a delivery that is not declared.
    """
    grants: dict[str, list[str]] = {}
    rest: dict[str, Any] = {}
    for name, (_, value) in entries.items():
        label, _, delivery_id = name.partition(":")
        if label == "grants":
            if not isinstance(value, list) or not value or any(type(section_id) is not str for section_id in value):
                raise MalformedMessage("must be a list of section ids", field="grants")
            grants[delivery_id] = value
        elif label not in {"section", "keyring"}:
            rest[name] = value
            if label == "delivery" and (not isinstance(value, dict) or value.get("granted_sections")):
                raise MalformedMessage("grants are entries of their own", field="delivery.granted_sections")
    for delivery_id, granted in grants.items():
        name = f"delivery:{delivery_id}"
        if name not in rest:
            raise UndeclaredEntry("a grant names a delivery that is not declared", field="grants")
        rest[name] = {**rest[name], "granted_sections": granted}
    return RoutingHeader.from_entries(rest.items())


def _check_references(
    header: RoutingHeader, descriptors: Mapping[str, SectionDescriptor], keyrings: Mapping[str, KeyringDescriptor]
) -> None:
    subjects = {subject.subject_id for subject in header.subjects} | {"incident"}
    if any(descriptor.subject not in subjects for descriptor in descriptors.values()):
        raise UndeclaredEntry("a section names a subject that is not declared", field="section.subject")
    granted = {delivery.delivery_id for delivery in header.deliveries if delivery.granted_sections}
    if granted != keyrings.keys():
        raise UndeclaredEntry("keyrings and granted deliveries differ", field="keyrings")
    if any(not descriptors.keys() >= set(delivery.granted_sections) for delivery in header.deliveries):
        raise UndeclaredEntry("a delivery is granted a section that is not declared", field="delivery.granted_sections")


def _validate(form: type[Entry], value: object, field: str) -> Entry:
    try:
        return form.model_validate(value)
    except ValidationError as error:
        where = name_first_fault(error)
        raise MalformedMessage("is not of its form", field=f"{field}.{where}" if where else field) from None


def read_map(value: object, field: str, most: int, kind: type) -> dict[str, Any]:
    """Return a JSON object of at most ``most`` members, each a ``kind``.

    Raises:
        MalformedMessage: it is not one.
        TooLarge: it has more members.
    """
    if not isinstance(value, dict) or any(not isinstance(member, kind) for member in value.values()):
        raise MalformedMessage("is not of its form", field=field)
    if len(value) > most:
        raise TooLarge(f"more than {most}", field=field)
    return value
