"""Deliveries of an enrolled agency that means harm: rightly signed and sealed, with content that no honest gateway would write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pytest

from schemas.canonical import canonical_bytes, encode_base64url, sha256_base64url
from schemas.envelope import VerifiedEnvelope, parse_envelope, seal, verify_envelope
from schemas.envelope.entries import RandomBytes
from schemas.envelope.model import SECTION_TYP, SectionDescriptor, SectionDraft
from schemas.envelope.sections import seal_section
from schemas.jose.jwe import encrypt_direct
from schemas.keys import public_part
from tests.support.deliveries import decide, log_and_deliver
from tests.support.envelopes import NOW, SeededBytes, build_sample
from tests.support.receiving import DELIVERY

POISONED = "section-00000000000001"
Write = Callable[[dict[str, Any]], bytes]
"""Makes a section's plaintext of its honest members."""


def put(**changes: Any) -> Write:
    """Return a writer that replaces members."""
    return lambda members: canonical_bytes(members | changes)


def splice(raw: bytes) -> Write:
    """Return a writer that puts these bytes in the content's place, whatever JSON says of them."""
    return lambda members: canonical_bytes(members | {"content": "@"}).replace(b'"@"', raw)


def leave_out(*names: str) -> Write:
    """Return a writer that leaves members out."""
    return lambda members: canonical_bytes({name: value for name, value in members.items() if name not in names})


@dataclass(frozen=True, slots=True)
class Hostile:
    """One hostile section: how its plaintext is written, what its protected header says besides, and the code with which it must end (none: it is
    taken in as what it is, words and numbers that harm nobody)."""

    write: Write
    code: str | None = "cannot-open"
    header: Mapping[str, Any] | None = None


CASES: dict[str, Hostile] = {
    "a number of 5000 digits": Hostile(splice(b"1" * 5000)),
    "a float beyond all floats": Hostile(splice(b"1e999999")),
    "not a number": Hostile(splice(b"NaN")),
    "a hundred thousand brackets": Hostile(splice(b"[" * 100_000 + b"]" * 100_000)),
    "a hundred thousand objects in one another": Hostile(splice(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
    "no UTF-8": Hostile(splice(b'{"text":"\xff\xfe"}')),
    "half a surrogate": Hostile(splice(b'{"text":"\\ud800"}')),
    "a key twice": Hostile(splice(b'{"text":"one","text":"other"}')),
    "no JSON": Hostile(lambda _: b"\x00" * 600),
    "nothing": Hostile(lambda _: b""),
    "a list in the section's place": Hostile(lambda _: b"[1,2,3]"),
    "no content": Hostile(leave_out("content")),
    "no salt": Hostile(leave_out("salt")),
    "a salt that is no text": Hostile(put(salt=7)),
    "another compartment's label": Hostile(put(compartment="C17")),
    "another child's label": Hostile(put(subject="subject-0000000000bbbb")),
    "another message's label": Hostile(put(message_id="019a0000-0000-7000-8000-000000000000")),
    "attachments that are no list": Hostile(put(attachments="x")),
    "a member that nobody knows": Hostile(put(run="rm -rf /")),
    "compression": Hostile(put(), "malformed", {"zip": "DEF"}),
    "a critical header": Hostile(put(), "malformed", {"crit": ["x"], "x": 1}),
    "text in an object's place": Hostile(put(content="only words"), None),
    "nothing in an object's place": Hostile(put(content=None), None),
    "a list in an object's place": Hostile(put(content=[1, None, True, {"a": ["b"]}]), None),
    "numbers where words belong": Hostile(
        put(content={"name": 5, "dateOfBirth": ["x"], "address": {"line": None}}), None
    ),
    "attachments of rubbish": Hostile(put(attachments=[{"name": 5, "data": ["x"]}, {}]), None),
    "ten megabytes": Hostile(put(content={"text": "x" * 10_000_000}), None),
    "fifty thousand short values": Hostile(put(content={"rows": [{"a": number} for number in range(50_000)]}), None),
    "markup": Hostile(put(content={"text": "<script>alert(1)</script><b>&\x7f\u202e\u0000"[:-1]}), None),
}


def deliver_hostile(number: int, hostile: Hostile) -> bytes:
    """Seal and sign such a referral as its sender, and hand it out as the hub does; a hub that looked would have refused a few of them itself."""
    message_id = f"019a8000-0000-7000-8000-{number:012d}"
    sample = build_sample(message_id=message_id, referral_id=f"referral-{number:013d}")
    delivery_id = f"delivery-{number:010d}csc"
    header = sample.draft.header
    renamed = tuple(
        d.model_copy(update={"delivery_id": delivery_id}) if d.delivery_id == DELIVERY else d for d in header.deliveries
    )
    names = {DELIVERY: delivery_id}
    draft = replace(
        sample.draft,
        header=header.model_copy(update={"deliveries": renamed}),
        grants={names.get(name, name): sections for name, sections in sample.draft.grants.items()},
    )
    keys = {names.get(name, name): public_part(jwk) for name, jwk in sample.encryption.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("schemas.envelope.seal"), "seal_section", _make_sealer(hostile))
        sealed = seal(draft, sample.signer, keys, rng=SeededBytes(message_id))
        patch.setattr(
            import_module("schemas.envelope.verify"), "check_sections", lambda *_: None
        )  # a hub that does not look
        verified: VerifiedEnvelope = verify_envelope(parse_envelope(sealed.body), (sample.signer.public,), now=NOW)
    released = (POISONED, "section-00000000000003")
    return log_and_deliver(verified, decide(verified, delivery_id, released))


def _make_sealer(hostile: Hostile) -> Callable[..., tuple[str, SectionDescriptor]]:
    def seal_badly(
        draft: SectionDraft, message_id: str, sender: str, key: bytes, *, rng: RandomBytes
    ) -> tuple[str, SectionDescriptor]:
        compact, descriptor = seal_section(draft, message_id, sender, key, rng=rng)
        if draft.section_id != POISONED:
            return compact, descriptor
        labels, salt = descriptor.labels(message_id, sender), rng(32)
        plaintext = hostile.write({**labels, "salt": encode_base64url(salt), "content": draft.content})
        compact = encrypt_direct(plaintext, key, {**labels, "typ": SECTION_TYP, **(hostile.header or {})}, rng=rng)
        digests = {
            "ciphertext_sha256": sha256_base64url(compact.encode()),
            "content_sha256": sha256_base64url(salt + plaintext),
        }
        return compact, descriptor.model_copy(update=digests)

    return seal_badly
