"""Envelopes as the hub receives them: good ones, and one for each defect."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, sha256_base64url
from schemas.envelope.model import SECTION_TYP
from schemas.jose.jwe import encrypt_direct
from tests.support.envelopes import NOW, SeededBytes, seeded_signer
from tests.vectors.crafting import (
    Body,
    Vector,
    find_opening,
    flip_last,
    payload_of,
    replace_opening,
    resign,
    sealed_body,
    small_sample,
    to_text,
)

OTHER_ID = "019aaf00-0000-7000-8000-000000000002"


def case(name: str, says: str, body: Body | str, expect: str, **options: Any) -> Vector:
    """Return one case for ``verify_envelope``."""
    return Vector(name, says, "verify_envelope", body if isinstance(body, str) else to_text(body), expect, options)


def build_envelope_cases() -> Iterator[Vector]:
    """Yield every case."""
    yield from _good()
    yield from _signatures()
    yield from _json()
    yield from _entries()
    yield from _parts()
    yield from _times()


def _good() -> Iterator[Vector]:
    sample = small_sample()
    body = sealed_body(sample)
    yield case("good", "a referral with three sections, one held, and two deliveries", body, "ok")
    spaced = resign(body, sample.signer, write=lambda header: json.dumps(header, indent=2).encode())
    yield case("good-other-spacing", "the same with protected headers written with spaces", spaced, "ok")
    unknown = replace_opening(body, sample.signer, "case", lambda value: {**value, "kind": "FUTURE_KIND"})
    yield case("good-unknown-kind", "a kind that nobody knows parses: policy holds it", unknown, "ok")


def _signatures() -> Iterator[Vector]:
    sample = small_sample()
    body, signer = sealed_body(sample), sample.signer
    signatures = body["manifest"]["signatures"]

    def signed(kept: list[Any]) -> Body:
        return {**body, "manifest": {**body["manifest"], "signatures": kept}}

    bad = "signature-invalid"
    yield case("wrong-algorithm", "a header names ES256", resign(body, signer, first={"alg": "ES256"}), bad)
    yield case("alg-eddsa", "a header names the deprecated EdDSA", resign(body, signer, first={"alg": "EdDSA"}), bad)
    yield case("alg-none", "a header names none", resign(body, signer, first={"alg": "none"}), bad)
    yield case("weaker-ml-dsa", "a header names ML-DSA-44", resign(body, signer, second={"alg": "ML-DSA-44"}), bad)
    yield case("stripped-ml-dsa", "only the Ed25519 signature", signed(signatures[:1]), bad)
    yield case("stripped-ed25519", "only the ML-DSA-65 signature", signed(signatures[1:]), bad)
    yield case("no-signatures", "no signature at all", signed([]), bad)
    yield case("third-signature", "a signature too many", signed([*signatures, signatures[0]]), bad)
    yield case("swapped-signatures", "the signatures in the other order", signed(signatures[::-1]), bad)
    kids = (signer.public.ed25519_kid, signer.public.ml_dsa_65_kid)
    swapped = resign(body, signer, first={"kid": kids[1]}, second={"kid": kids[0]})
    yield case("swapped-kid", "each header names the other key", swapped, bad)
    yield case("missing-kid", "a header names no key", resign(body, signer, first={"kid": None}), bad)
    for name, value in (
        ("crit", ["exp"]),
        ("zip", "DEF"),
        ("jku", "https://keys.invalid/"),
        ("jwk", {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}),
        ("x5u", "https://keys.invalid/"),
        ("b64", False),
    ):
        extra = {name: value}
        yield case(f"header-{name}", f"a protected header holds {name}", resign(body, signer, first=extra), bad)
    yield case("wrong-typ", "signed as a receipt", resign(body, signer, typ="safelane-receipt+jws"), bad)
    yield case("missing-typ", "a header without typ", resign(body, signer, second={"typ": None}), bad)
    unprotected = [{**signatures[0], "header": {"kid": kids[0]}}, signatures[1]]
    yield case("unprotected-header", "a signature with an unprotected header", signed(unprotected), bad)
    altered = {**body["manifest"], "payload": flip_last(body["manifest"]["payload"])}
    yield case("altered-payload", "one character of the payload changed", {**body, "manifest": altered}, bad)
    forged = [{**signatures[0], "signature": flip_last(signatures[0]["signature"])}, signatures[1]]
    yield case("altered-signature", "one character of a signature changed", signed(forged), bad)
    padded = [{**signatures[0], "signature": signatures[0]["signature"] + "=="}, signatures[1]]
    yield case("padded-signature", "a signature with base64 padding", signed(padded), bad)
    other = resign(body, seeded_signer("police.elsewhere"))
    yield case("foreign-signer", "signed by another agency's keys", other, bad)
    mixed = [signatures[0], other["manifest"]["signatures"][1]]
    yield case("mixed-signers", "one signature of each of two agencies", signed(mixed), bad)
    named = payload_of(body) | {"sender": "police.elsewhere"}
    yield case("other-sender", "names another sender", resign(body, signer, canonical_bytes(named)), bad)


def _json() -> Iterator[Vector]:
    sample = small_sample()
    body, signer = sealed_body(sample), sample.signer
    text, payload = to_text(body), payload_of(body)
    raw = canonical_bytes(payload)

    def manifest(altered: bytes) -> Body:
        assert altered != raw
        return resign(body, signer, altered)

    twice = text.replace('"keyrings":', '"sections":{},"keyrings":', 1)
    yield case("duplicate-key", "a key repeated in the envelope", twice, "malformed")
    inner = manifest(raw.replace(b'"revision":1', b'"revision":1,"revision":2'))
    yield case("duplicate-key-manifest", "a key repeated in the signed manifest", inner, "malformed")
    yield case("fraction", "a number that is not an integer", manifest(raw.replace(b":1,", b":1.0,")), "malformed")
    yield case("not-a-number", "NaN in the manifest", manifest(raw.replace(b":1,", b":NaN,")), "malformed")
    huge = manifest(raw.replace(b'"revision":1', b'"revision":9007199254740993'))
    yield case("huge-integer", "an integer beyond 2**53 - 1", huge, "malformed")
    unknown = canonical_bytes(payload | {"priority": 1})
    yield case("unknown-manifest-member", "the manifest has an unknown member", manifest(unknown), "malformed")
    suite = canonical_bytes(payload | {"suite": "SL2"})
    yield case("unknown-suite", "a suite that is not known here", manifest(suite), "malformed")
    yield case("unknown-member", "the envelope has an unknown member", {**body, "note": ""}, "malformed")
    yield case("missing-member", "the envelope has no keyrings", text.replace('"keyrings"', '"keyring"'), "malformed")
    yield case("not-an-object", "the envelope is an array", "[]", "malformed")
    yield case("truncated", "the last byte is missing", text[:-1], "malformed")
    yield case("lone-surrogate", "a string with half a surrogate pair", '{"manifest":"\\ud800"}', "malformed")
    yield case("deep-nesting", "nested deeper than 64", "[" * 65 + "]" * 65, "too-large")
    yield case("oversize", "more bytes than the cap (padded with spaces)", text, "too-large", pad_to=16_000_001)
    yield case("wrong-message-id", "not a UUIDv7", manifest(raw.replace(b"-7000-", b"-4000-")), "malformed")


def _entries() -> Iterator[Vector]:
    sample = small_sample()
    body, signer = sealed_body(sample), sample.signer
    openings, payload = body["openings"], payload_of(body)

    def opened(changed: list[str]) -> Body:
        return {**body, "openings": changed}

    def altered(name: str, value: Any) -> Body:
        old = find_opening(body, name)
        salt = json.loads(decode_base64url(old))[0]
        new = encode_base64url(canonical_bytes([salt, name, value]))
        return opened([new if opening == old else opening for opening in openings])

    yield case(
        "altered-header", "a routing entry altered after signing", altered("flag:0", "nothing"), "undeclared-entry"
    )
    extra = encode_base64url(canonical_bytes(["c2FsdA", "flag:9", "extra"]))
    yield case("undeclared-entry", "an opening that nobody signed", opened([*openings, extra]), "undeclared-entry")
    yield case("opened-twice", "an opening repeated", opened([*openings, openings[0]]), "undeclared-entry")
    kept = [opening for opening in openings if opening != find_opening(body, "policy")]
    yield case("missing-policy", "the policy entry is not opened to the hub", opened(kept), "malformed")
    old = find_opening(body, "flag:0")
    for name, new in (("padded-opening", old + "=" * (-len(old) % 4 or 4)), ("foreign-character", "+" + old[1:])):
        digests = sorted({*payload["digests"]} - {sha256_base64url(old.encode())} | {sha256_base64url(new.encode())})
        spelt = resign(
            opened([new if o == old else o for o in openings]), signer, canonical_bytes(payload | {"digests": digests})
        )
        yield case(name, "a declared opening that is not unpadded base64url", spelt, "malformed")
    few = canonical_bytes(payload | {"digests": payload["digests"][:63]})
    yield case("decoys-missing", "63 digests: not filled up with decoys", resign(body, signer, few), "malformed")
    order = canonical_bytes(payload | {"digests": payload["digests"][::-1]})
    yield case("unsorted-digests", "digests that are not sorted", resign(body, signer, order), "malformed")
    renamed = replace_opening(
        body, signer, "subject:subject-0000000000aaaa", lambda v: {**v, "subject_id": "subject-0000000000zzzz"}
    )
    yield case("renamed-entry", "an entry named after another subject", renamed, "malformed")
    text = replace_opening(body, signer, "case", lambda v: {**v, "area": "line\nbreak"})
    yield case("free-text", "free text where a code belongs", text, "malformed")
    stranger = replace_opening(
        body, signer, "section:section-00000000000001", lambda v: {**v, "subject": "subject-0000000000zzzz"}
    )
    yield case("unknown-subject", "a section about a subject that is not declared", stranger, "undeclared-entry")
    wide = replace_opening(body, signer, "grants:delivery-00000000dsl01", lambda _: ["section-00000000000009"])
    yield case("unknown-grant", "a grant of a section that is not declared", wide, "undeclared-entry")
    inline = replace_opening(
        body, signer, "delivery:delivery-00000000dsl01", lambda v: {**v, "granted_sections": ["section-00000000000001"]}
    )
    yield case("inline-grant", "grants in the recipient's own entry", inline, "malformed")


def _parts() -> Iterator[Vector]:
    sample = small_sample()
    body, signer = sealed_body(sample), sample.signer
    sections, keyrings = body["sections"], body["keyrings"]
    one, two = sections["section-00000000000001"], sections["section-00000000000002"]

    def with_sections(changed: dict[str, str]) -> Body:
        return {**body, "sections": sections | changed}

    swapped = with_sections({"section-00000000000001": two, "section-00000000000002": one})
    yield case("swapped-section", "two sections exchanged", swapped, "digest-mismatch")
    flipped = with_sections({"section-00000000000001": flip_last(one)})
    yield case("altered-section", "one character of a section changed", flipped, "digest-mismatch")
    extra = with_sections({"section-00000000000009": one})
    yield case("undeclared-section", "a section that nobody declared", extra, "undeclared-entry")
    fewer = {**body, "sections": {name: text for name, text in sections.items() if name != "section-00000000000003"}}
    yield case("missing-section", "a declared section is missing", fewer, "undeclared-entry")
    label = {**json.loads(decode_base64url(one.split(".", 1)[0])), "compartment": "C02", "typ": SECTION_TYP}
    relabelled = encrypt_direct(b"{}", bytes(32), label, rng=SeededBytes("label"))
    digest = sha256_base64url(relabelled.encode())
    wrong = replace_opening(
        body, signer, "section:section-00000000000001", lambda v: {**v, "ciphertext_sha256": digest}
    )
    wrong = {**wrong, "sections": sections | {"section-00000000000001": relabelled}}
    yield case("section-label-mismatch", "a section's header names another compartment", wrong, "label-mismatch")
    for name in ("zip", "crit"):
        header = {**json.loads(decode_base64url(one.split(".", 1)[0])), name: "DEF" if name == "zip" else ["zip"]}
        sealed = encrypt_direct(b"{}", bytes(32), header, rng=SeededBytes(name))
        digest = sha256_base64url(sealed.encode())
        odd = replace_opening(
            body, signer, "section:section-00000000000001", lambda v, d=digest: {**v, "ciphertext_sha256": d}
        )
        odd = {**odd, "sections": sections | {"section-00000000000001": sealed}}
        yield case(f"section-{name}", f"a section's header holds {name}", odd, "malformed")
    csc, dsl = keyrings["delivery-00000000csc01"], keyrings["delivery-00000000dsl01"]
    exchanged = {**body, "keyrings": {"delivery-00000000csc01": dsl, "delivery-00000000dsl01": csc}}
    yield case("swapped-keyrings", "two deliveries' keyrings exchanged", exchanged, "foreign-keyring")
    other = sealed_body(small_sample(message_id=OTHER_ID), "other")["keyrings"]["delivery-00000000csc01"]
    foreign = {**body, "keyrings": keyrings | {"delivery-00000000csc01": other}}
    yield case("foreign-keyring", "a keyring of another message", foreign, "foreign-keyring")
    twin = sealed_body(sample, "twin")["keyrings"]["delivery-00000000csc01"]
    replaced = {**body, "keyrings": keyrings | {"delivery-00000000csc01": twin}}
    yield case("replaced-keyring", "a keyring with the right binding that nobody signed", replaced, "digest-mismatch")
    undeclared = {**body, "keyrings": keyrings | {"delivery-00000000zzz01": csc}}
    yield case("undeclared-keyring", "a keyring that nobody declared", undeclared, "undeclared-entry")
    missing = {**body, "keyrings": {"delivery-00000000csc01": csc}}
    yield case("missing-keyring", "a declared keyring is missing", missing, "undeclared-entry")
    unprotected = {**body, "keyrings": keyrings | {"delivery-00000000csc01": {**csc, "aad": "e30"}}}
    yield case("keyring-aad", "a keyring with additional data", unprotected, "malformed")


def _times() -> Iterator[Vector]:
    day, minute = timedelta(days=1), timedelta(minutes=1)
    times = (
        ("expired", "expired a minute ago", NOW - day, NOW - minute),
        ("from-the-future", "issued ten minutes from now", NOW + 10 * minute, NOW + day),
        ("too-long-a-life", "good for a year", NOW, NOW + 365 * day),
        ("ends-before-it-starts", "expires before it is issued", NOW + 4 * minute, NOW + minute),
    )
    for name, says, issued_at, expires_at in times:
        yield case(name, says, sealed_body(small_sample(issued_at=issued_at, expires_at=expires_at)), "not-fresh")
