"""Deliveries as a recipient receives them, honest and not; sealed JWEs; signed objects."""

import json
from collections.abc import Iterator
from typing import Any

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, sha256_base64url
from schemas.checkpoint import Checkpoint, sign_checkpoint, write_proof
from schemas.codes import ReceiptState
from schemas.envelope import VerifiedEnvelope, parse_envelope, seal, verify_envelope
from schemas.envelope.sections import keyring_binding, seal_keyring
from schemas.jose import encrypt_direct, encrypt_hpke
from schemas.keys import public_part
from schemas.objects import sign_object
from schemas.objects.receipt import Receipt
from tests.support.deliveries import ORIGIN, decide, log_and_deliver, seeded_log_jwk
from tests.support.envelopes import NOW, SENDER, SeededBytes, seeded_encryption_jwk, seeded_signer
from tests.vectors.crafting import Vector, flip_last, replace_opening, sealed_body, small_sample, to_text
from tests.vectors.envelope_cases import OTHER_ID

DELIVERY = "delivery-00000000csc01"
BOTH = ["section-00000000000001", "section-00000000000002"]


def build_delivery_cases() -> Iterator[Vector]:
    """Yield every case of this module."""
    yield from _deliveries()
    yield from _lying_senders()
    yield from _jwes()
    yield from _objects()


def _verified(**facts: Any) -> VerifiedEnvelope:
    sample = small_sample(**facts)
    sealed = seal(sample.draft, sample.signer, sample.encryption, rng=SeededBytes("delivery"))
    return verify_envelope(parse_envelope(sealed.body), [sample.signer.public], now=NOW)


def _deliveries() -> Iterator[Vector]:
    verified = _verified()
    body = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH)))

    def case(name: str, says: str, changed: dict[str, Any], expect: str) -> Vector:
        return Vector(name, says, "open_delivery", to_text(changed), expect)

    yield case("delivery-good", "two sections, as signed and as decided", body, "ok")
    narrow = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH[:1])))
    yield case("delivery-good-narrowed", "the hub released one section of two", narrow, "ok")
    empty = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, [])))
    yield case("delivery-good-empty", "nothing released but the fact of the referral", empty, "ok")
    tampered = "delivery-tampered"
    fewer = {name: text for name, text in body["sections"].items() if name != BOTH[1]}
    yield case("delivery-dropped-section", "a released section is missing", {**body, "sections": fewer}, tampered)
    swapped = dict(zip(BOTH, [body["sections"][name] for name in BOTH[::-1]], strict=True))
    yield case("delivery-swapped-section", "two sections exchanged", {**body, "sections": swapped}, tampered)
    held = {**body["sections"], "section-00000000000003": verified.sections["section-00000000000003"]}
    yield case("delivery-extra-section", "a held section was added", {**body, "sections": held}, tampered)
    no_key = {**body, "keyring": None}
    yield case("delivery-no-keyring", "the keyring is missing", no_key, tampered)
    foreign = {**body, "keyring": _verified(message_id=OTHER_ID).keyrings[DELIVERY]}
    yield case("delivery-foreign-keyring", "a keyring of another message", foreign, tampered)
    stray = [*body["openings"], encode_base64url(canonical_bytes(["c2FsdA", "flag:9", "x"]))]
    yield case("delivery-undeclared-entry", "an opening that nobody signed", {**body, "openings": stray}, tampered)
    risk = {**narrow, "openings": [*narrow["openings"], verified.openings["risk"]]}
    yield case("delivery-risk-without-c05", "the risk is opened although no section of C05 is there", risk, tampered)
    no_risk = {**body, "openings": [o for o in body["openings"] if o != verified.openings["risk"]]}
    yield case("delivery-c05-without-risk", "a section of C05 without the risk that goes with it", no_risk, tampered)
    for name in (
        "basis",
        "policy",
        "flag:0",
        "subject:subject-0000000000bbbb",
        "subject-routing:subject-0000000000aaaa",
    ):
        wide = {**body, "openings": [*body["openings"], verified.openings[name]]}
        says = f"an entry that this recipient may not open: {name}"
        yield case(f"delivery-wide-{name.replace(':', '-')}", says, wide, tampered)
    other = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH, recipient="gp.one")))
    yield case("delivery-other-recipient", "the decision names another recipient", other, tampered)
    digest = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH, manifest_digest="A" * 43)))
    yield case("delivery-other-manifest", "the decision names another manifest", digest, tampered)
    wrong_kid = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH, keyring_kid="A" * 43)))
    yield case("delivery-other-key", "the decision names another key", wrong_kid, tampered)
    unproved = "proof-invalid"
    event = {**body, "decision": {**body["decision"], "salt": encode_base64url(bytes(32))}}
    yield case("delivery-other-salt", "the log does not hold this decision", event, unproved)
    ghost = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH), log_name="ghost"))
    yield case("delivery-other-log-key", "a checkpoint signed by another key", ghost, unproved)
    elsewhere = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, BOTH), origin="elsewhere.test/log"))
    yield case("delivery-other-log", "a checkpoint of another log", elsewhere, unproved)
    checkpoint = sign_checkpoint(Checkpoint(ORIGIN, 9, bytes(32)), seeded_log_jwk())
    rootless = {**body, "proof": write_proof(3, [bytes(32)] * 4, checkpoint)}
    yield case("delivery-other-root", "a path that does not lead to the root", rootless, unproved)
    manifest = body["manifest"]
    forged = {**manifest, "payload": flip_last(manifest["payload"])}
    yield case(
        "delivery-forged-manifest", "a manifest altered on the way", {**body, "manifest": forged}, "signature-invalid"
    )
    yield case("delivery-bad-proof", "a proof that is no proof", {**body, "proof": "index 3"}, "malformed")


def _lie(plaintext: bytes, content_digest: str | None, sealed_key: bytes, named_digest: str | None) -> str:
    """Return a delivery whose sender signed a section with this plaintext, and a keyring with this key and ciphertext digest."""
    sample = small_sample()
    body, facts = sealed_body(sample), sample.draft.facts
    header = json.loads(decode_base64url(body["sections"]["section-00000000000001"].split(".", 1)[0]))
    key, rng, jwk = bytes(range(32)), SeededBytes("lie"), sample.encryption[DELIVERY]
    section = encrypt_direct(plaintext, key, header, rng=rng)
    digest = sha256_base64url(section.encode())
    binding = keyring_binding(facts.message_id, facts.sender, DELIVERY)
    entry = {
        "section-00000000000001": (sealed_key or key, named_digest or digest),
        "section-00000000000002": (key, "A" * 43),
    }
    keyring, descriptor = seal_keyring(entry, binding, public_part(jwk), jwk["kid"], rng=rng)
    changes = {"ciphertext_sha256": digest, "content_sha256": content_digest or sha256_base64url(bytes(32) + plaintext)}
    body = replace_opening(body, sample.signer, "section:section-00000000000001", lambda v: {**v, **changes})
    body = replace_opening(body, sample.signer, f"keyring:{DELIVERY}", lambda _: descriptor.model_dump(mode="json"))
    body = {
        **body,
        "sections": body["sections"] | {"section-00000000000001": section},
        "keyrings": body["keyrings"] | {DELIVERY: keyring},
    }
    verified = verify_envelope(parse_envelope(canonical_bytes(body)), [sample.signer.public], now=NOW)
    return log_and_deliver(verified, decide(verified, DELIVERY, ["section-00000000000001"])).decode()


def _lying_senders() -> Iterator[Vector]:
    facts = small_sample().draft.facts
    honest = {
        "suite": "SL1",
        "message_id": facts.message_id,
        "sender": facts.sender,
        "section_id": "section-00000000000001",
        "compartment": "C01",
        "subject": "subject-0000000000aaaa",
        "form": "full",
        "media_type": "application/json",
        "salt": encode_base64url(bytes(32)),
        "content": "invented",
    }
    plaintext = canonical_bytes(honest)
    other = "B" * 43

    def case(name: str, says: str, body: str, expect: str) -> Vector:
        return Vector(name, says, "open_delivery", body, expect)

    yield case("content-good", "a section made by hand", _lie(plaintext, None, b"", None), "ok")
    for name, value in (("compartment", "C02"), ("subject", "incident"), ("form", "summary"), ("sender", "gp.one")):
        lie = canonical_bytes(honest | {name: value})
        body = _lie(lie, None, b"", None)
        yield case(f"content-label-{name}", f"the plaintext names another {name}", body, "label-mismatch")
    yield case(
        "content-digest", "the plaintext is not the one signed", _lie(plaintext, other, b"", None), "digest-mismatch"
    )
    yield case(
        "content-salt",
        "a salt of 31 bytes",
        _lie(canonical_bytes(honest | {"salt": "A" * 42}), None, b"", None),
        "digest-mismatch",
    )
    yield case(
        "content-key", "the keyring holds another key", _lie(plaintext, None, bytes(32), None), "decryption-failed"
    )
    yield case(
        "content-foreign-key",
        "the keyring's key is for other bytes",
        _lie(plaintext, None, b"", other),
        "digest-mismatch",
    )
    twice = plaintext.replace(b'"content":', b'"content":1,"content":')
    yield case("content-duplicate-key", "a key repeated in the plaintext", _lie(twice, None, b"", None), "malformed")
    extra = canonical_bytes(honest | {"extra": 1})
    yield case(
        "content-unknown-member", "an unknown member in the plaintext", _lie(extra, None, b"", None), "malformed"
    )


def _jwes() -> Iterator[Vector]:
    jwk = seeded_encryption_jwk("vector")
    kid = str(jwk["kid"])
    good = encrypt_hpke(b"plaintext", public_part(jwk), kid, {}, rng=SeededBytes("jwe"))

    def case(name: str, says: str, jwe: dict[str, Any], expect: str) -> Vector:
        return Vector(name, says, "jwe_decrypt", to_text(jwe), expect, {"key": "vector"})

    def reheaded(**changes: Any) -> dict[str, Any]:
        header = json.loads(decode_base64url(good["protected"])) | changes
        return {**good, "protected": encode_base64url(canonical_bytes(header))}

    yield case("jwe-good", "a flattened HPKE-9-KE JWE", good, "ok")
    for name, value in (("zip", "DEF"), ("jku", "https://keys.invalid/"), ("crit", ["exp"]), ("psk_id", "YQ")):
        yield case(f"jwe-{name}", f"the header holds {name}", reheaded(**{name: value}), "malformed")
    yield case("jwe-alg-dir", "the header names dir", reheaded(alg="dir"), "malformed")
    yield case("jwe-alg-hpke-0-ke", "the header names another HPKE suite", reheaded(alg="HPKE-0-KE"), "malformed")
    yield case(
        "jwe-enc-unknown", "the header names a content cipher that is not used", reheaded(enc="A256CTR"), "malformed"
    )
    yield case("jwe-short-ek", "an encapsulated secret of the wrong length", reheaded(ek="AAAA"), "malformed")
    yield case("jwe-altered-header", "a member added after sealing", reheaded(note="x"), "decryption-failed")
    yield case(
        "jwe-altered-tag",
        "one character of the tag changed",
        {**good, "tag": flip_last(good["tag"])},
        "decryption-failed",
    )
    other = encrypt_hpke(b"plaintext", public_part(seeded_encryption_jwk("else")), kid, {}, rng=SeededBytes("else"))
    yield case("jwe-other-recipient", "sealed to another key", other, "decryption-failed")
    yield case(
        "jwe-repeated-parameter", "alg protected and unprotected", {**good, "header": {"alg": "dir"}}, "malformed"
    )
    yield case("jwe-padded", "base64 padding", {**good, "iv": good["iv"] + "="}, "malformed")


def _objects() -> Iterator[Vector]:
    receipt = Receipt(
        receipt_id="receipt-00000000000001",
        delivery_id=DELIVERY,
        message_id=OTHER_ID,
        referral_id="referral-0000000000001",
        manifest_digest="A" * 43,
        decision_leaf="B" * 43,
        sender="csc.marchshire",
        recipient=SENDER,
        state=ReceiptState.ACCEPTED,
        at=NOW,
        sections=("section-00000000000001",),
    )
    signer = seeded_signer(SENDER)
    good = sign_object("receipt", receipt, signer)

    def case(name: str, says: str, body: bytes, expect: str, object_type: str = "receipt") -> Vector:
        return Vector(name, says, "read_object", body.decode(), expect, {"type": object_type})

    members = receipt.model_dump(mode="json")
    yield case("receipt-good", "a first receipt", good, "ok")
    yield case("object-wrong-type", "a receipt shown as an approval", good, "signature-invalid", "approval")
    yield case("object-unknown-type", "a type that is not in the registry", good, "malformed", "memo")
    yield case(
        "object-foreign-signer",
        "signed by another",
        sign_object("receipt", receipt, seeded_signer("x")),
        "signature-invalid",
    )
    refused = sign_object("receipt", members | {"state": "refused"}, signer)
    yield case("receipt-refused-without-reason", "a refusal without a reason code", refused, "malformed")
    opened = sign_object("receipt", members | {"state": "opened"}, signer)
    yield case("receipt-unchained", "a later receipt that names none before it", opened, "malformed")
    yield case(
        "object-unknown-member",
        "an unknown member",
        sign_object("receipt", members | {"note": "x"}, signer),
        "malformed",
    )
