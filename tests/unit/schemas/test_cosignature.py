"""Cosignatures to the byte, and which witness counts: one with every key that the directory lists, once."""

import base64
import struct
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from schemas.canonical import decode_base64url
from schemas.checkpoint import Checkpoint, NoteVerifier, sign_checkpoint, verify_checkpoint, write_verifier
from schemas.cosignature import cosign_checkpoint, verify_cosignatures
from schemas.directory import Agency, AgencyKeys, Directory, Partnership, WitnessPolicy
from schemas.errors import MalformedMessage
from schemas.keys import (
    Jwk,
    KeyUse,
    compute_thumbprint,
    generate_ed25519_jwk,
    generate_ml_dsa_44_jwk,
    generate_ml_dsa_65_jwk,
    public_part,
)
from schemas.witnesses import find_cosigners, group_witness_keys, has_quorum, read_witnesses

ORIGIN, NAME, SECONDS = "safelane.test/log", "csc.marchshire", 1_795_000_000
LOG = generate_ed25519_jwk(KeyUse.LOG)
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 7, bytes(range(32))), LOG)
ED, ML = generate_ed25519_jwk(KeyUse.WITNESS), generate_ml_dsa_44_jwk(KeyUse.WITNESS)


def verifier(name: str, jwk: Jwk) -> NoteVerifier:
    return NoteVerifier.from_text(write_verifier(name, public_part(jwk), use=KeyUse.WITNESS))


def cosign(*jwks: Jwk, name: str = NAME, at: int = SECONDS, note: str = NOTE) -> str:
    return "".join(cosign_checkpoint(note, name, jwk, timestamp=at) for jwk in jwks)


def test_the_ml_dsa_cosignature_is_c2sps_to_the_byte() -> None:
    line = cosign(ML)
    dash, name, encoded = line.rstrip("\n").split(" ")
    raw, public = base64.b64decode(encoded), decode_base64url(ML["pub"])
    assert (dash, name, len(public), len(raw)) == ("—", NAME, 1312, 4 + 8 + 2420)
    assert raw[:4] == sha256(NAME.encode() + b"\n\x06" + public).digest()[:4]
    message = struct.pack(
        f">12sB{len(NAME)}sQB{len(ORIGIN)}sQQ32s",
        b"subtree/v1\n\0", len(NAME), NAME.encode(), SECONDS, len(ORIGIN), ORIGIN.encode(), 0, 7, bytes(range(32)),
    )  # fmt: skip
    assert raw[4:12] == struct.pack(">Q", SECONDS)
    MLDSA44PublicKey.from_public_bytes(public).verify(raw[12:], message)
    vkey = write_verifier(NAME, public_part(ML), use=KeyUse.WITNESS)
    assert base64.b64decode(vkey.split("+", 2)[2]) == b"\x06" + public


def test_the_ed25519_cosignature_of_c2sps_own_example_has_the_right_form() -> None:
    """The example checkpoint in tlog-cosignature: keys are not published there, but ids, lengths and time are."""
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    ours = cosign(ED, name="witness.example.com/w1", at=1_679_315_147, note=example)
    theirs, mine = (base64.b64decode(text.rstrip("\n").split(" ")[-1]) for text in (example, ours))
    assert len(mine) == len(theirs)
    assert mine[4:12] == theirs[4:12]
    assert verify_cosignatures(example + ours, [verifier("witness.example.com/w1", ED)]) == [1_679_315_147]


def test_lines_of_other_keys_and_types_are_passed_over() -> None:
    other = generate_ml_dsa_44_jwk(KeyUse.WITNESS)
    unknown = f"— {NAME} {base64.b64encode(b'????' + bytes(99)).decode()}\n"
    note = NOTE + unknown + cosign(other) + cosign(ML, at=5) + cosign(ED)
    assert verify_cosignatures(note, [verifier(NAME, ED), verifier(NAME, ML)]) == [SECONDS, 5]
    assert verify_cosignatures(note, [verifier("gp.millbrook", ML)]) == [None]
    assert verify_checkpoint(note, NoteVerifier.from_text(write_verifier(ORIGIN, public_part(LOG)))).size == 7
    stolen = NOTE + cosign(ED, ML).replace(f"— {NAME}", "— gp.millbrook")
    assert verify_cosignatures(stolen, [verifier(NAME, ED), verifier("gp.millbrook", ML)]) == [None, None]


def test_what_cannot_be_cosigned_is_refused() -> None:
    extended = NOTE.replace("\n\n", "\nextension\n\n", 1)
    for arguments in (
        {"note": extended},
        {"name": "n" * 256},
        {"at": 2**63},
        {"at": -1},
    ):
        with pytest.raises(MalformedMessage):
            cosign(ML, **arguments)  # type: ignore[arg-type]
    for jwk in (generate_ml_dsa_65_jwk(KeyUse.WITNESS), generate_ed25519_jwk(KeyUse.API)):
        with pytest.raises(MalformedMessage):
            cosign(jwk)


def make_directory(keys: dict[str, tuple[Jwk, ...]], *, quorum: int = 1, **changes: Any) -> Directory:
    now = datetime.now(UTC)
    facts: dict[str, Any] = {
        "name": "x", "kind": "csc", "roles": (), "area": "E10000099",
        "public_body": True, "s16la_body": True,
    }  # fmt: skip
    revoked = changes.pop("revoked", ())
    agencies = tuple(
        Agency(
            id=name,
            keys=AgencyKeys(witness=tuple(public_part(jwk) for jwk in jwks), revoked=revoked),
            **facts,
            **changes,
        )
        for name, jwks in keys.items()
    )
    return Directory(
        version=1,
        issued_at=now,
        expires_at=now + timedelta(days=1),
        partnership=Partnership(id="test"),
        agencies=agencies,
        witnesses=WitnessPolicy(agencies=tuple(keys), quorum=quorum),
    )


def test_a_witness_counts_when_every_key_that_the_directory_lists_has_signed_and_once() -> None:
    both, old = make_directory({NAME: (ED, ML)}), make_directory({NAME: (ED,)})
    for lines, of_both, of_old in (
        (cosign(ED), False, True),
        (cosign(ML), False, False),
        (cosign(ED, ML), True, True),
        (cosign(ML, ED), True, True),
        (cosign(ED) + cosign(generate_ml_dsa_44_jwk(KeyUse.WITNESS)), False, True),
    ):
        assert (has_quorum(NOTE + lines, both), has_quorum(NOTE + lines, old)) == (of_both, of_old)
    assert find_cosigners(NOTE + cosign(ED, at=5) + cosign(ML, at=9), read_witnesses(both)) == {NAME: 9}
    assert not has_quorum(NOTE + cosign(ED, ML) * 2, make_directory({NAME: (ED, ML)}, quorum=2))
    assert not has_quorum(NOTE + cosign(ED, ML), make_directory({NAME: (ED, ML)}, quorum=0))


def test_old_and_new_witnesses_make_a_quorum_together() -> None:
    other = generate_ed25519_jwk(KeyUse.WITNESS)
    directory = make_directory({NAME: (ED, ML), "gp.millbrook": (other,)}, quorum=2)
    note = NOTE + cosign(ED, ML) + cosign(other, name="gp.millbrook")
    assert has_quorum(note, directory)
    assert [witness.is_post_quantum() for witness in read_witnesses(directory)] == [True, False]


@pytest.mark.parametrize("lost", [ED, ML], ids=["ed25519", "ml-dsa-44"])
def test_revoking_either_key_ends_both(lost: Jwk) -> None:
    note = NOTE + cosign(ED, ML)
    assert not has_quorum(note, make_directory({NAME: (ED, ML)}, revoked=(compute_thumbprint(lost),)))
    assert not has_quorum(note, make_directory({NAME: (ED, ML)}, revoked_at=datetime.now(UTC)))


def test_keys_are_grouped_as_they_are_listed() -> None:
    second = generate_ed25519_jwk(KeyUse.WITNESS)
    assert group_witness_keys([]) == []
    assert group_witness_keys([ED, ML]) == [(ED, ML)]
    assert group_witness_keys([ML, ED]) == [(ML,), (ED,)]
    assert group_witness_keys([ED, second, ML]) == [(ED,), (second, ML)]
    assert group_witness_keys([ED, ML, ML]) == [(ED, ML), (ML,)]
    rolled = make_directory({NAME: (ED, second)})
    assert has_quorum(NOTE + cosign(second), rolled)
    assert has_quorum(NOTE + cosign(ED), rolled)
