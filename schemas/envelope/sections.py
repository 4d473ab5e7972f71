"""Sections and keyrings: how their plaintexts are written, padded, encrypted, opened and compared with what was signed.

GCM does not commit to its key, so a descriptor holds the digest of the ciphertext and of salt then plaintext: one ciphertext cannot open to two
plaintexts unseen, and a court can check a plaintext that somebody produces.
"""

from collections.abc import Mapping
from typing import Any, Final

from schemas.canonical import (
    canonical_bytes,
    decode_base64url,
    encode_base64url,
    parse_object,
    sha256_base64url,
    sha256_base64url_all,
)
from schemas.envelope.entries import RandomBytes
from schemas.envelope.errors import DigestMismatch, ForeignKeyring, LabelMismatch
from schemas.envelope.model import (
    KEYRING_TYP,
    MAX_ENVELOPE_BYTES,
    SECTION_TYP,
    SUITE,
    KeyringDescriptor,
    OpenedSection,
    SectionDescriptor,
    SectionDraft,
)
from schemas.errors import MalformedMessage
from schemas.jose.content_encryption import A256GCM
from schemas.jose.jwe import (
    DIRECT,
    compact_form,
    decrypt_direct,
    encrypt_direct,
    encrypt_hpke,
    jwe_decrypt,
    read_direct_header,
    read_jose_header,
)
from schemas.keys import HPKE_9_KE

SECTION_KEY_BYTES: Final = 32
_SALT_BYTES = 32
_KEYRING_STEP = 8
_DECOY_ID_BYTES = 16
_SMALLEST_BUCKET = 512
_DOUBLING_ENDS = 65_536
_MAX_KEYRING_BYTES = 200_000
_ANY_DIGEST = "A" * 43


def pad_to_bucket(plaintext: bytes) -> bytes:
    """Pad JSON with trailing spaces to 512 bytes, then doublings up to 64 KiB, then multiples of 64 KiB, so that its length says little."""
    size = _SMALLEST_BUCKET
    while size < len(plaintext) and size < _DOUBLING_ENDS:
        size *= 2
    if size < len(plaintext):
        size = -(-len(plaintext) // _DOUBLING_ENDS) * _DOUBLING_ENDS
    return plaintext.ljust(size, b" ")


def seal_section(
    draft: SectionDraft, message_id: str, sender: str, key: bytes, *, rng: RandomBytes
) -> tuple[str, SectionDescriptor]:
    """Encrypt a section under ``key``. Returns the compact JWE and its descriptor."""
    blank = SectionDescriptor(
        section_id=draft.section_id,
        compartment=draft.compartment,
        subject=draft.subject,
        form=draft.form,
        media_type=draft.media_type,
        ciphertext_sha256=_ANY_DIGEST,
        content_sha256=_ANY_DIGEST,
    )
    labels = blank.labels(message_id, sender)
    salt = rng(_SALT_BYTES)
    members: dict[str, Any] = {**labels, "salt": encode_base64url(salt), "content": draft.content}
    if draft.attachments:
        members["attachments"] = [dict(attachment) for attachment in draft.attachments]
    plaintext = pad_to_bucket(canonical_bytes(members))
    compact = encrypt_direct(plaintext, key, {**labels, "typ": SECTION_TYP}, rng=rng)
    digests = {
        "ciphertext_sha256": sha256_base64url(compact.encode("ascii")),
        "content_sha256": sha256_base64url(salt + plaintext),
    }
    return compact, blank.model_copy(update=digests)


def check_sections(
    sections: Mapping[str, str], descriptors: Mapping[str, SectionDescriptor], message_id: str, sender: str
) -> None:
    """Check all sections of an envelope as ``check_section`` does. ``sections`` and ``descriptors`` have the same ids.

    Raises:
        DigestMismatch, LabelMismatch, MalformedMessage: as ``check_section``.
    """
    try:
        digests = sha256_base64url_all([compact.encode("ascii") for compact in sections.values()])
    except UnicodeEncodeError:
        raise MalformedMessage("is not a compact JWE", field="sections") from None
    for (section_id, compact), digest in zip(sections.items(), digests, strict=True):
        _check_digest_and_labels(compact, digest, descriptors[section_id], message_id, sender)


def check_section(compact: str, descriptor: SectionDescriptor, message_id: str, sender: str) -> None:
    """Check a sealed section against its signed descriptor, without opening it.

    Raises:
        DigestMismatch: it is not the section that was signed.
        LabelMismatch: its protected header says other than its descriptor.
        MalformedMessage: it is not a compact JWE of the profile.
    """
    try:
        raw = compact.encode("ascii")
    except UnicodeEncodeError:
        raise MalformedMessage("is not a compact JWE", field="sections") from None
    _check_digest_and_labels(compact, sha256_base64url(raw), descriptor, message_id, sender)


def _check_digest_and_labels(
    compact: str, digest: str, descriptor: SectionDescriptor, message_id: str, sender: str
) -> None:
    if digest != descriptor.ciphertext_sha256:
        raise DigestMismatch("a section is not the one that was signed", field="sections")
    if not compact.startswith(encode_base64url(_write_header(descriptor, message_id, sender)) + ".."):
        # Another implementation may write the same header with other spacing or order.
        expected = {**descriptor.labels(message_id, sender), "typ": SECTION_TYP}
        header = read_direct_header(compact, field="sections")
        if {name: value for name, value in header.items() if name not in {"alg", "enc"}} != expected:
            raise LabelMismatch("a section's header and descriptor disagree", field="sections")


def _write_header(descriptor: SectionDescriptor, message_id: str, sender: str) -> bytes:
    """Return a section's protected header as ``encrypt_direct`` writes it. No label can hold a character that JSON escapes."""
    return (
        f'{{"alg":"{DIRECT}","compartment":"{descriptor.compartment}","enc":"{A256GCM}","form":"{descriptor.form}",'
        f'"media_type":"{descriptor.media_type}","message_id":"{message_id}","section_id":"{descriptor.section_id}",'
        f'"sender":"{sender}","subject":"{descriptor.subject}","suite":"{SUITE}","typ":"{SECTION_TYP}"}}'
    ).encode("ascii")


def open_section(
    compact: str, descriptor: SectionDescriptor, key: bytes, message_id: str, sender: str
) -> OpenedSection:
    """Open a section that ``check_section`` has passed, and check its labels and its content digest.

    Raises:
        DecryptionFailed: the key is not its key.
        DigestMismatch: the plaintext is not the one whose digest was signed.
        LabelMismatch: the plaintext says other than the descriptor.
        MalformedMessage: the plaintext is not of its form.
    """
    plaintext = decrypt_direct(compact, key, field="sections")
    members = parse_object(plaintext, max_bytes=MAX_ENVELOPE_BYTES, field="section")
    salt = decode_base64url(members.get("salt", ""), field="section.salt")
    if len(salt) != _SALT_BYTES or sha256_base64url(salt + plaintext) != descriptor.content_sha256:
        raise DigestMismatch("a section's content is not the one that was signed", field="section")
    labels = descriptor.labels(message_id, sender)
    if any(members.get(name) != value for name, value in labels.items()):
        raise LabelMismatch("a section's content and descriptor disagree", field="section")
    attachments = members.get("attachments", [])
    known = labels.keys() | {"salt", "content", "attachments"}
    if "content" not in members or not members.keys() <= known or not isinstance(attachments, list):
        raise MalformedMessage("is not of the form of a section", field="section")
    return OpenedSection(
        section_id=descriptor.section_id,
        compartment=descriptor.compartment,
        subject=descriptor.subject,
        form=descriptor.form,
        media_type=descriptor.media_type,
        content=members["content"],
        attachments=tuple(attachments),
    )


def seal_keyring(
    keys: Mapping[str, tuple[bytes, str]],
    binding: Mapping[str, str],
    recipient_jwk: Mapping[str, Any],
    kid: str,
    *,
    rng: RandomBytes,
) -> tuple[dict[str, str], KeyringDescriptor]:
    """Seal section id to (key, ciphertext digest) for one delivery, with decoys up to a multiple of eight. ``binding`` is ``keyring_binding``'s result.

    Raises:
        MalformedMessage: the recipient's key is not an encryption key.
    """
    entries = {name: {"k": encode_base64url(key), "ciphertext_sha256": digest} for name, (key, digest) in keys.items()}
    while len(entries) % _KEYRING_STEP:
        # A recipient must not count the sections that it was granted and not given.
        decoy = {"k": encode_base64url(rng(SECTION_KEY_BYTES)), "ciphertext_sha256": encode_base64url(rng(32))}
        entries[encode_base64url(rng(_DECOY_ID_BYTES))] = decoy
    plaintext = pad_to_bucket(canonical_bytes({"sections": entries}))
    jwe = encrypt_hpke(plaintext, recipient_jwk, kid, {**binding, "typ": KEYRING_TYP}, rng=rng)
    digest = sha256_base64url(compact_form(jwe))
    return jwe, KeyringDescriptor(delivery_id=binding["delivery_id"], kid=kid, sha256=digest)


def keyring_binding(message_id: str, sender: str, delivery_id: str) -> dict[str, str]:
    """Return what a keyring's protected header must say of where it belongs."""
    return {"suite": SUITE, "message_id": message_id, "sender": sender, "delivery_id": delivery_id}


def check_keyring(jwe: Mapping[str, Any], descriptor: KeyringDescriptor, binding: Mapping[str, str]) -> None:
    """Check a sealed keyring against its signed descriptor and its place, without opening it.

    Raises:
        ForeignKeyring: it belongs to another message, sender, delivery or key.
        DigestMismatch: it is not the keyring that was signed.
        MalformedMessage: it is not a flattened JWE of the profile.
    """
    compact = compact_form(jwe)
    if not _is_header_with_ek(decode_base64url(jwe["protected"], field="keyrings"), binding, descriptor.kid):
        # Another implementation may write the same header with other spacing or order.
        expected = {**binding, "typ": KEYRING_TYP, "alg": HPKE_9_KE, "enc": A256GCM, "kid": descriptor.kid}
        header = read_jose_header(jwe)
        if {name: value for name, value in header.items() if name != "ek"} != expected:
            raise ForeignKeyring("a keyring is bound to another place", field="keyrings")
    if sha256_base64url(compact) != descriptor.sha256:
        raise DigestMismatch("a keyring is not the one that was signed", field="keyrings")


def _is_header_with_ek(raw: bytes, binding: Mapping[str, str], kid: str) -> bool:
    """Tell whether a keyring's protected header is as ``encrypt_hpke`` writes it, whatever its ``ek``. No binding can hold a character that JSON escapes."""
    before = f'{{"alg":"{HPKE_9_KE}","delivery_id":"{binding["delivery_id"]}","ek":"'.encode("ascii")
    after = (
        f'","enc":"{A256GCM}","kid":"{kid}","message_id":"{binding["message_id"]}","sender":"{binding["sender"]}",'
        f'"suite":"{binding["suite"]}","typ":"{KEYRING_TYP}"}}'
    ).encode("ascii")
    ek = raw[len(before) : len(raw) - len(after)]
    return raw.startswith(before) and raw.endswith(after) and b'"' not in ek and b"\\" not in ek and ek.isascii()


def open_keyring(jwe: Mapping[str, Any], private_jwk: Mapping[str, Any]) -> dict[str, tuple[bytes, str]]:
    """Open a keyring. Returns section id to (key, ciphertext digest).

    Raises:
        DecryptionFailed: it is not sealed to this key.
        MalformedMessage: its plaintext is not of its form.
    """
    members = parse_object(jwe_decrypt(jwe, private_jwk), max_bytes=_MAX_KEYRING_BYTES, max_depth=4, field="keyring")
    sections = members.get("sections")
    if members.keys() != {"sections"} or not isinstance(sections, dict):
        raise MalformedMessage("must hold sections", field="keyring")
    opened: dict[str, tuple[bytes, str]] = {}
    for section_id, entry in sections.items():
        if not isinstance(entry, dict) or entry.keys() != {"k", "ciphertext_sha256"}:
            raise MalformedMessage("an entry must hold k and ciphertext_sha256", field="keyring.sections")
        opened[section_id] = (decode_base64url(entry["k"], field="keyring.k"), str(entry["ciphertext_sha256"]))
    return opened
