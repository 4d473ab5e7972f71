"""Every vector gives its declared result, by its named error."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.checkpoint import NoteVerifier
from schemas.cosignature import verify_cosignatures
from schemas.envelope import open_delivery, parse_delivery, parse_envelope, verify_delivery, verify_envelope
from schemas.errors import SafelaneError, SignatureInvalid
from schemas.jose import jwe_decrypt
from schemas.keys import pair_verifying_keys
from schemas.objects.registry import read_object
from tests.vectors.generate import FOLDER, KEYS, build_cases, build_keys

CASES = sorted(FOLDER.glob("*.json"))
FACTS: dict[str, Any] = json.loads(KEYS.read_text(encoding="utf-8"))
NOW = datetime.fromisoformat(FACTS["now"])
SENDER_KEYS = pair_verifying_keys(FACTS["sender_signing"])


def perform(case: dict[str, Any]) -> None:
    body = case["body"].encode("utf-8").ljust(case["options"].get("pad_to", 0))
    match case["operation"]:
        case "verify_envelope":
            verify_envelope(parse_envelope(body), SENDER_KEYS, now=NOW, sender=FACTS["sender"])
        case "open_delivery":
            jwk = FACTS["encryption"][FACTS["recipient"]]
            verified = verify_delivery(
                parse_delivery(body),
                SENDER_KEYS,
                NoteVerifier.from_text(FACTS["log_verifier"]),
                recipient=FACTS["recipient"],
                kids={jwk["kid"]},
                now=NOW,
            )
            assert len(open_delivery(verified, {jwk["kid"]: jwk})) == len(verified.decision.released)
        case "jwe_decrypt":
            assert jwe_decrypt(json.loads(body), FACTS["encryption"][case["options"]["key"]]) == b"plaintext"
        case "read_object":
            read_object(case["options"]["type"], body, SENDER_KEYS)
        case "verify_cosignature":
            key = NoteVerifier.from_text(FACTS["witness_verifiers"][case["options"]["key"]])
            if verify_cosignatures(case["body"], [key]) == [None]:
                raise SignatureInvalid
        case operation:
            raise AssertionError(operation)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_vector_gives_its_declared_result(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    if case["expect"] == "ok":
        perform(case)
        return
    with pytest.raises(SafelaneError) as caught:
        perform(case)
    assert caught.value.code == case["expect"]


def test_every_case_of_the_generator_has_its_file() -> None:
    declared = {vector.name: (vector.operation, vector.expect) for vector in build_cases()}
    written = {}
    for path in CASES:
        case = json.loads(path.read_text(encoding="utf-8"))
        written[path.stem] = (case["operation"], case["expect"])
    assert written == declared


def test_keys_are_those_of_the_generator() -> None:
    assert build_keys() == FACTS


def test_an_error_never_repeats_content() -> None:
    for path in CASES:
        case = json.loads(path.read_text(encoding="utf-8"))
        if case["expect"] == "ok":
            continue
        with pytest.raises(SafelaneError) as caught:
            perform(case)
        assert "invented" not in str(caught.value)
        assert len(str(caught.value)) < 200
