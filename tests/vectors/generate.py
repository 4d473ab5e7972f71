"""Writes the vectors that are missing: ``python -m tests.vectors.generate``, or all of them with ``--anew``.

Signatures (ML-DSA is hedged) and keyrings (HPKE draws its own randomness) differ in every run, so the files are made once and kept; a test checks that
each file still gives its result and that no case lacks its file.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from schemas.checkpoint import write_verifier
from schemas.keys import public_part
from tests.support.deliveries import ORIGIN, seeded_log_jwk
from tests.support.envelopes import DELIVERIES, NOW, SENDER, seeded_encryption_jwk, seeded_signing_jwks
from tests.vectors.cosignature_cases import build_cosignature_cases, witness_verifiers
from tests.vectors.crafting import Vector
from tests.vectors.delivery_cases import build_delivery_cases
from tests.vectors.envelope_cases import build_envelope_cases

FOLDER = Path(__file__).parent / "cases"
KEYS = Path(__file__).parent / "keys.json"


def build_cases() -> Iterator[Vector]:
    """Yield every case."""
    yield from build_envelope_cases()
    yield from build_delivery_cases()
    yield from build_cosignature_cases()


def build_keys() -> dict[str, object]:
    """Return the keys and facts that every case assumes. They are made from fixed seeds and protect nothing."""
    recipients = {agency: seeded_encryption_jwk(agency) for agency in DELIVERIES.values()}
    return {
        "says": "Test keys, made from fixed seeds. They protect nothing.",
        "now": NOW.isoformat(),
        "sender": SENDER,
        "sender_signing": [public_part(jwk) for jwk in seeded_signing_jwks(SENDER)],
        "recipient": DELIVERIES["delivery-00000000csc01"],
        "log_verifier": write_verifier(ORIGIN, public_part(seeded_log_jwk())),
        "witness_verifiers": witness_verifiers(),
        "encryption": {**recipients, "vector": seeded_encryption_jwk("vector")},
    }


def main(*, anew: bool) -> None:
    """Write the cases that lack a file, or every case ``anew``; remove files without a case."""
    FOLDER.mkdir(exist_ok=True)
    cases = {f"{vector.name}.json": vector for vector in build_cases()}
    for old in FOLDER.glob("*.json"):
        if old.name not in cases:
            old.unlink()
    for name, vector in cases.items():
        if anew or not (FOLDER / name).exists():
            (FOLDER / name).write_text(vector.to_json(), encoding="utf-8")
    KEYS.write_text(json.dumps(build_keys(), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(anew="--anew" in sys.argv)
