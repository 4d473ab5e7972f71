"""ML-DSA by other hands: dilithium-py, written along FIPS 204, judges our cosignatures and envelopes as ``cryptography`` does, and the other way round.

What is signed is written here by hand from C2SP's tlog-cosignature and from RFC 7515, so that our own writers are checked as well. Neither standard
has a context string for ML-DSA, so every signature with one is refused.
"""

import base64
import json
import random
import struct
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from dilithium_py.ml_dsa import ML_DSA_44, ML_DSA_65

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url
from schemas.checkpoint import Checkpoint, NoteVerifier, sign_checkpoint, write_verifier
from schemas.cosignature import cosign_checkpoint, verify_cosignatures
from schemas.errors import SignatureInvalid
from schemas.jose import sign_jws, verify_jws
from schemas.keys import (
    KeyUse,
    SigningKeys,
    generate_ed25519_jwk,
    generate_ml_dsa_44_jwk,
    generate_ml_dsa_65_jwk,
    public_part,
)

VECTORS = Path(__file__).parents[2] / "vectors"
ORIGIN, NAME, SECONDS, SIZE, ROOT = "safelane.test/log", "csc.marchshire", 1_795_000_000, 20_852_163, bytes(range(32))
SEED = bytes(range(100, 132))
NOTE = sign_checkpoint(Checkpoint(ORIGIN, SIZE, ROOT), generate_ed25519_jwk(KeyUse.LOG))
WITNESS = generate_ml_dsa_44_jwk(KeyUse.WITNESS, seed=SEED)
VERIFIER = NoteVerifier.from_text(write_verifier(NAME, public_part(WITNESS), use=KeyUse.WITNESS))
THEIR_44, THEIR_65 = ML_DSA_44.key_derive(SEED), ML_DSA_65.key_derive(SEED)
PAIR = (generate_ed25519_jwk(KeyUse.SIGNING), generate_ml_dsa_65_jwk(KeyUse.SIGNING, seed=SEED))
SIGNER = SigningKeys.from_jwks(*PAIR)
TYP = "safelane-manifest+jws"
PAYLOAD = canonical_bytes({"invented": "manifest"})


def write_message(**changes: Any) -> bytes:
    """C2SP's ``cosigned_message``: label, name, time, origin, start, end, hash; lengths in one byte, numbers big-endian."""
    facts = {"label": b"subtree/v1\n\0", "name": NAME, "time": SECONDS, "origin": ORIGIN, "start": 0, "end": SIZE}
    facts |= {"root": ROOT} | changes
    name, origin = facts["name"].encode(), facts["origin"].encode()
    return b"".join((
        facts["label"], bytes([len(name)]), name, struct.pack(">Q", facts["time"]), bytes([len(origin)]), origin,
        struct.pack(">QQ", facts["start"], facts["end"]), facts["root"],
    ))  # fmt: skip


def write_line(signature: bytes, *, seconds: int = SECONDS) -> str:
    """A signature line by hand: id of the key of type 0x06, time, signature."""
    key_id = sha256(NAME.encode() + b"\n\x06" + THEIR_44[0]).digest()[:4]
    return f"— {NAME} {base64.b64encode(key_id + struct.pack('>Q', seconds) + signature).decode()}\n"


def read_signature(line: str) -> bytes:
    return base64.b64decode(line.rstrip("\n").rpartition(" ")[2])[12:]


def is_ours(signature: bytes) -> bool:
    """What our verifier says of a cosignature on the note."""
    return verify_cosignatures(NOTE + write_line(signature), [VERIFIER]) == [SECONDS]


def is_raw(key: MLDSA44PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def flip(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def sample_bits(length: int, count: int, tail: int) -> list[int]:
    """Bits all over ``length`` bytes, and of its last ``tail`` bytes, which hold the hints: where an encoding could be loose."""
    chance = random.Random(length)  # noqa: S311 (the same in every run)
    return [chance.randrange(8 * length) for _ in range(count)] + [
        8 * (length - tail) + chance.randrange(8 * tail) for _ in range(count)
    ]


@pytest.mark.parametrize("number", range(4))
def test_one_seed_makes_the_same_keys(number: int) -> None:
    seed = sha256(bytes([number])).digest()
    ours_44 = generate_ml_dsa_44_jwk(KeyUse.WITNESS, seed=seed)
    ours_65 = generate_ml_dsa_65_jwk(KeyUse.SIGNING, seed=seed)
    assert decode_base64url(ours_44["pub"]) == ML_DSA_44.key_derive(seed)[0]
    assert decode_base64url(ours_65["pub"]) == ML_DSA_65.key_derive(seed)[0]


def test_our_cosignature_is_good_there() -> None:
    line = cosign_checkpoint(NOTE, NAME, WITNESS, timestamp=SECONDS)
    signature = read_signature(line)
    assert line == write_line(signature)
    assert ML_DSA_44.verify(THEIR_44[0], write_message(), signature)


@pytest.mark.parametrize("deterministic", [True, False])
def test_their_cosignature_is_good_here(deterministic: bool) -> None:
    signature = ML_DSA_44.sign(THEIR_44[1], write_message(), deterministic=deterministic)
    assert is_ours(signature)


@pytest.mark.parametrize("sign", ["ours", "theirs"])
def test_a_flipped_bit_of_a_cosignature_is_bad_in_both(sign: str) -> None:
    ours = read_signature(cosign_checkpoint(NOTE, NAME, WITNESS, timestamp=SECONDS))
    signature = ours if sign == "ours" else ML_DSA_44.sign(THEIR_44[1], write_message())
    assert len(signature) == 2420
    for bit in sample_bits(2420, 12, 84):
        changed = flip(signature, bit)
        assert not is_ours(changed), bit
        assert not ML_DSA_44.verify(THEIR_44[0], write_message(), changed), bit


@pytest.mark.parametrize(
    "changes",
    [
        {"label": b"subtree/v2\n\0"},
        {"label": b"subtree/v1\n"},
        {"name": "gp.millbrook"},
        {"time": SECONDS + 1},
        {"origin": "safelane.test/log/2"},
        {"start": 256},
        {"end": SIZE + 1},
        {"root": flip(ROOT, 77)},
    ],
    ids="-".join,
)
def test_each_member_of_the_signed_message_counts_in_both(changes: dict[str, Any]) -> None:
    ours = read_signature(cosign_checkpoint(NOTE, NAME, WITNESS, timestamp=SECONDS))
    assert not ML_DSA_44.verify(THEIR_44[0], write_message(**changes), ours)
    assert not is_ours(ML_DSA_44.sign(THEIR_44[1], write_message(**changes)))


@pytest.mark.parametrize("context", [b"\0", b"subtree/v1", b"x" * 255])
def test_a_context_string_is_refused_in_both(context: bytes) -> None:
    assert not is_ours(ML_DSA_44.sign(THEIR_44[1], write_message(), ctx=context))
    ours = read_signature(cosign_checkpoint(NOTE, NAME, WITNESS, timestamp=SECONDS))
    assert not ML_DSA_44.verify(THEIR_44[0], write_message(), ours, ctx=context)
    assert not is_jws(lambda message: ML_DSA_65.sign(THEIR_65[1], message, ctx=context))
    assert not ML_DSA_65.verify(THEIR_65[0], *signed_half(sign_jws(PAYLOAD, SIGNER, TYP)), ctx=context)


def test_every_published_vector_is_judged_alike() -> None:
    """Of cases that carry an ML-DSA cosignature: the other implementation says what the case declares."""
    facts = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    public = base64.b64decode(facts["witness_verifiers"]["ml_dsa_44"].split("+", 2)[2])[1:]
    seen = {}
    for path in sorted((VECTORS / "cases").glob("cosignature-ml-dsa-44-*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        origin, size, root = case["body"].split("\n")[:3]
        name, encoded = case["body"].rstrip("\n").rpartition("\n— ")[2].split(" ")
        raw = base64.b64decode(encoded)[4:]
        (time,) = struct.unpack(">Q", raw[:8])
        members = {"name": name, "time": time, "origin": origin, "end": int(size), "root": base64.b64decode(root)}
        good = ML_DSA_44.verify(public, write_message(**members), raw[8:])
        seen[path.stem.removeprefix("cosignature-ml-dsa-44-")] = (good, case["expect"])
    # Rightly signed, and refused for what they are: no word on larger trees, and a line that was not signed.
    refused = {name: seen.pop(name) for name in ("untimed", "extension")}
    assert refused == dict.fromkeys(("untimed", "extension"), (True, "signature-invalid"))
    assert len(seen) > 8
    assert {name: good for name, (good, _) in seen.items()} == {name: name == "ok" for name in seen}
    assert all((expect == "ok") == good for good, expect in seen.values())


def signed_half(jws: dict[str, Any]) -> tuple[bytes, bytes]:
    """What the ML-DSA-65 signature of a JWS signs (RFC 7515, section 5.1), and the signature."""
    header = encode_base64url(
        json.dumps(
            {"alg": "ML-DSA-65", "kid": SIGNER.public.ml_dsa_65_kid, "typ": TYP}, separators=(",", ":"), sort_keys=True
        ).encode()
    )
    return f"{header}.{encode_base64url(PAYLOAD)}".encode(), decode_base64url(jws["signatures"][1]["signature"])


def is_jws(sign: Callable[[bytes], bytes]) -> bool:
    """What our verifier says of an envelope's signature whose second half somebody else made."""
    jws = sign_jws(PAYLOAD, SIGNER, TYP)
    message, _ = signed_half(jws)
    jws["signatures"][1]["signature"] = encode_base64url(sign(message))
    try:
        return verify_jws(jws, [SIGNER.public], TYP) == PAYLOAD
    except SignatureInvalid:
        return False


def test_envelopes_are_good_in_both() -> None:
    message, signature = signed_half(sign_jws(PAYLOAD, SIGNER, TYP))
    assert len(signature) == 3309
    assert ML_DSA_65.verify(THEIR_65[0], message, signature)
    assert is_jws(lambda message: ML_DSA_65.sign(THEIR_65[1], message))


def test_a_flipped_bit_of_an_envelopes_signature_is_bad_in_both() -> None:
    message, signature = signed_half(sign_jws(PAYLOAD, SIGNER, TYP))
    for bit in sample_bits(3309, 8, 61):
        changed = flip(signature, bit)
        assert not ML_DSA_65.verify(THEIR_65[0], message, changed), bit
        assert not is_jws(lambda _, changed=changed: changed), bit
    for bit in sample_bits(len(message), 4, 8):
        assert not ML_DSA_65.verify(THEIR_65[0], flip(message, bit), signature), bit
        assert not is_jws(lambda message, bit=bit: ML_DSA_65.sign(THEIR_65[1], flip(message, bit))), bit


def test_a_published_envelopes_manifest_is_good_there() -> None:
    facts = json.loads((VECTORS / "keys.json").read_text(encoding="utf-8"))
    body = json.loads(json.loads((VECTORS / "cases/good.json").read_text(encoding="utf-8"))["body"])
    half = body["manifest"]["signatures"][1]
    message = f"{half['protected']}.{body['manifest']['payload']}".encode()
    public, signature = decode_base64url(facts["sender_signing"][1]["pub"]), decode_base64url(half["signature"])
    assert json.loads(decode_base64url(half["protected"]))["alg"] == "ML-DSA-65"
    assert ML_DSA_65.verify(public, message, signature)
    assert not ML_DSA_65.verify(public, flip(message, 3), signature)


def loosen(hints: bytes, way: str, bit: int) -> bytes:
    """Change a signature's 80 places of hints, or the four counts after them."""
    match way:
        case "swapped":
            return bytes([hints[1], hints[0]]) + hints[2:]
        case "repeated":
            return hints[:1] + hints[:1] + hints[2:]
        case "padded":
            return flip(hints, 8 * min(hints[-1], 79) + bit % 8)
        case _:
            return flip(hints, 8 * 80 + bit)


@pytest.mark.parametrize("way", ["swapped", "repeated", "padded", "counted"])
def test_loose_hints_are_refused_in_both(way: str) -> None:
    """FIPS 204 lets a signature have one encoding: hints in order, counts that do not fall, and nothing after them."""
    message, key = write_message(), MLDSA44PublicKey.from_public_bytes(THEIR_44[0])
    signature = ML_DSA_44.sign(THEIR_44[1], message, deterministic=True)
    assert is_raw(key, signature, message)
    for bit in range(8):
        changed = signature[:-84] + loosen(signature[-84:], way, bit)
        assert changed != signature
        assert (is_raw(key, changed, message), ML_DSA_44.verify(THEIR_44[0], message, changed)) == (False, False), bit
