"""Cases of witnesses' cosignatures (C2SP tlog-cosignature), each with at most one defect in what was signed or in the line that carries it."""

import base64
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from schemas.checkpoint import Checkpoint, sign_checkpoint, write_verifier
from schemas.cosignature import cosign_checkpoint, write_cosigned_message
from schemas.keys import (
    KeyUse,
    generate_ed25519_jwk,
    generate_ml_dsa_44_jwk,
    load_ed25519_private_key,
    load_ml_dsa_44_private_key,
    public_part,
)
from tests.support.deliveries import ORIGIN, seeded_log_jwk
from tests.vectors.crafting import Vector

WITNESS = "csc.marchshire"
SECONDS = 1_795_000_000
HEAD = Checkpoint(ORIGIN, 20_852_163, sha256(b"an invented root").digest())


def witness_jwks() -> dict[str, dict[str, Any]]:
    """Return the witness's private keys, made from fixed seeds."""
    return {
        "ed25519": generate_ed25519_jwk(KeyUse.WITNESS, seed=sha256(b"vector witness ed25519").digest()),
        "ml_dsa_44": generate_ml_dsa_44_jwk(KeyUse.WITNESS, seed=sha256(b"vector witness ml-dsa-44").digest()),
    }


def witness_verifiers() -> dict[str, str]:
    """Return the vkeys of both."""
    return {name: write_verifier(WITNESS, public_part(jwk), use=KeyUse.WITNESS) for name, jwk in witness_jwks().items()}


def build_cosignature_cases() -> Iterator[Vector]:
    """Yield the cases."""
    note, jwks = sign_checkpoint(HEAD, seeded_log_jwk()), witness_jwks()
    for key, name in (("ed25519", "Ed25519 (0x04)"), ("ml_dsa_44", "ML-DSA-44 (0x06)")):
        line = cosign_checkpoint(note, WITNESS, jwks[key], timestamp=SECONDS)
        yield _case(f"{key}-ok", f"a cosignature with {name}", note + line, key, expect="ok")
        yield _case(f"{key}-altered-time", "the time in the line is one second later", note + _shift(line), key)
        yield _case(f"{key}-truncated", "the signature lacks its last byte", note + _cut(line), key)
        yield _case(f"{key}-other-size", "of a tree of another size", _resize(note) + line, key)
    yield from _ml_dsa_cases(note)


def _ml_dsa_cases(note: str) -> Iterator[Vector]:
    good = write_cosigned_message(WITNESS, SECONDS, HEAD)
    other_origin = Checkpoint("log.example.org/other", HEAD.size, HEAD.root)
    messages = {
        "other-label": ("label is subtree/v2", good.replace(b"subtree/v1", b"subtree/v2")),
        "label-without-nul": ("label lacks its NUL", good.replace(b"\n\0", b"\n", 1)),
        "other-name": ("name is another witness's", write_cosigned_message("gp.millbrook", SECONDS, HEAD)),
        "other-origin": ("origin is another log's", write_cosigned_message(WITNESS, SECONDS, other_origin)),
        "subtree": ("start is not zero", write_cosigned_message(WITNESS, SECONDS, HEAD, start=256)),
        "as-ed25519": ("form is the Ed25519 type's", f"cosignature/v1\ntime {SECONDS}\n{HEAD.to_text()}".encode()),
    }
    for name, (says, message) in messages.items():
        text = f"the signed message's {says}"
        yield _case(f"ml_dsa_44-{name}", text, note + _sign_by_hand(message, SECONDS), "ml_dsa_44")
    untimed = _sign_by_hand(write_cosigned_message(WITNESS, 0, HEAD), 0)
    says = "a time of zero says nothing of whether a larger tree was seen: it does not count"
    yield _case("ml_dsa_44-untimed", says, note + untimed, "ml_dsa_44")
    extended = note.replace("\n\n", "\nextension\n\n", 1)
    says = "the checkpoint has an extension line, which this type does not cover"
    yield _case("ml_dsa_44-extension", says, extended + _sign_by_hand(good, SECONDS), "ml_dsa_44")
    signature = load_ed25519_private_key(witness_jwks()["ed25519"]).sign(good)
    says = "an Ed25519 signature under the ML-DSA key's id"
    yield _case("ml_dsa_44-ed25519-signature", says, note + _write_line(SECONDS, signature), "ml_dsa_44")


def _case(name: str, says: str, body: str, key: str, *, expect: str = "signature-invalid") -> Vector:
    return Vector(f"cosignature-{name.replace('_', '-')}", says, "verify_cosignature", body, expect, {"key": key})


def _sign_by_hand(message: bytes, seconds: int) -> str:
    return _write_line(seconds, load_ml_dsa_44_private_key(witness_jwks()["ml_dsa_44"]).sign(message))


def _write_line(seconds: int, signature: bytes) -> str:
    key_id = bytes.fromhex(witness_verifiers()["ml_dsa_44"].split("+")[1])
    return f"— {WITNESS} {base64.b64encode(key_id + seconds.to_bytes(8) + signature).decode()}\n"


def _shift(line: str) -> str:
    head, _, encoded = line.rstrip("\n").rpartition(" ")
    raw = base64.b64decode(encoded)
    later = (int.from_bytes(raw[4:12]) + 1).to_bytes(8)
    return f"{head} {base64.b64encode(raw[:4] + later + raw[12:]).decode()}\n"


def _cut(line: str) -> str:
    head, _, encoded = line.rstrip("\n").rpartition(" ")
    return f"{head} {base64.b64encode(base64.b64decode(encoded)[:-1]).decode()}\n"


def _resize(note: str) -> str:
    return note.replace(f"\n{HEAD.size}\n", f"\n{HEAD.size + 1}\n", 1)
