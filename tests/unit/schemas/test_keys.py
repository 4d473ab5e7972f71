import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature

from schemas.canonical import decode_base64url
from schemas.errors import MalformedMessage
from schemas.keys import (
    KeyUse,
    SigningKeys,
    VerifyingKeys,
    compute_thumbprint,
    generate_ed25519_jwk,
    generate_encryption_jwk,
    generate_ml_dsa_65_jwk,
    load_ed25519_private_key,
    load_ed25519_public_key,
    load_hybrid_private_key,
    load_hybrid_public_key,
    pair_verifying_keys,
    public_part,
    require_distinct_keys,
    require_use,
)

DRAFT = json.loads((Path(__file__).parents[2] / "vectors/hpke/hpke-9-ke.json").read_text(encoding="utf-8"))


def test_thumbprint_of_rfc_8037_appendix_a3() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert compute_thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert compute_thumbprint(jwk | {"alg": "Ed25519", "d": "x", "safelane_use": "api"}) == compute_thumbprint(jwk)


def test_hybrid_seed_expands_as_in_the_draft() -> None:
    jwk = DRAFT["private_jwk"]
    load_hybrid_private_key(jwk)
    again = generate_encryption_jwk(seed=decode_base64url(jwk["priv"]))
    assert again["kid"] == jwk["kid"]


def test_public_part_holds_nothing_private() -> None:
    for jwk in (generate_ed25519_jwk(KeyUse.API), generate_ml_dsa_65_jwk(KeyUse.SIGNING), generate_encryption_jwk()):
        public = public_part(jwk)
        assert not {"d", "priv"} & public.keys()
        assert compute_thumbprint(public) == jwk["kid"]


def test_a_key_of_one_use_is_refused_for_another() -> None:
    with pytest.raises(MalformedMessage):
        require_use(generate_ed25519_jwk(KeyUse.API), KeyUse.WITNESS)


def test_one_key_cannot_serve_two_uses() -> None:
    jwk = generate_ed25519_jwk(KeyUse.API)
    require_distinct_keys([jwk, generate_ed25519_jwk(KeyUse.API)])
    with pytest.raises(MalformedMessage):
        require_distinct_keys([jwk, jwk | {"safelane_use": "witness"}])


def test_pairs_are_read_in_order_and_revoked_ones_left_out() -> None:
    _, first = SigningKeys.generate()
    _, second = SigningKeys.generate()
    flat = [public_part(jwk) for jwk in (*first, *second)]
    assert len(pair_verifying_keys(flat)) == 2
    kept = pair_verifying_keys(flat, revoked={first[1]["kid"]})
    assert [pair.ed25519_kid for pair in kept] == [second[0]["kid"]]
    for wrong in (flat[:3], flat[::-1], [flat[0], flat[2]]):
        with pytest.raises(MalformedMessage):
            pair_verifying_keys(wrong)
    api = public_part(generate_ed25519_jwk(KeyUse.API))
    with pytest.raises(MalformedMessage):
        pair_verifying_keys([api, flat[1]])


def test_a_public_part_that_is_another_keys_is_refused() -> None:
    _, (ed25519, ml_dsa) = SigningKeys.generate()
    other = generate_ed25519_jwk(KeyUse.SIGNING)
    with pytest.raises(MalformedMessage):
        SigningKeys.from_jwks(ed25519 | {"x": other["x"]}, ml_dsa)
    hybrid = generate_encryption_jwk()
    with pytest.raises(MalformedMessage):
        load_hybrid_private_key(hybrid | {"pub": generate_encryption_jwk()["pub"]})


def load_both(jwk: dict[str, object]) -> None:
    load_hybrid_public_key(jwk)
    load_hybrid_private_key(jwk)


@pytest.mark.parametrize(
    "change",
    [{"kty": "EC"}, {"alg": "HPKE-0-KE"}, {"alg": None}, {"priv": "AAAA"}, {"priv": 3}, {"pub": "AAAA"}, {"pub": None}],
)
def test_malformed_hybrid_keys_are_refused(change: dict[str, object]) -> None:
    jwk = {name: value for name, value in (generate_encryption_jwk() | change).items() if value is not None}
    with pytest.raises(MalformedMessage):
        load_both(jwk)


@pytest.mark.parametrize(
    "change", [{"crv": "X25519"}, {"x": "AAAA", "d": "AAAA"}, {"x": None, "d": None}, {"alg": "EdDSA"}]
)
def test_malformed_ed25519_keys_are_refused(change: dict[str, object]) -> None:
    jwk = {n: v for n, v in (generate_ed25519_jwk(KeyUse.API) | change).items() if v is not None}
    with pytest.raises(MalformedMessage):
        load_ed25519_public_key(jwk)
    with pytest.raises(MalformedMessage):
        load_ed25519_private_key(jwk)


def test_malformed_ml_dsa_keys_are_refused() -> None:
    _, (ed25519, ml_dsa) = SigningKeys.generate()
    for change in ({"pub": "AAAA"}, {"kty": "OKP"}, {"alg": "ML-DSA-44"}):
        with pytest.raises(MalformedMessage):
            VerifyingKeys.from_jwks(ed25519, ml_dsa | change)
    with pytest.raises(MalformedMessage):
        SigningKeys.from_jwks(ed25519, ml_dsa | {"priv": "AAAA"})


def test_private_keys_do_not_show_in_repr() -> None:
    keys, jwks = SigningKeys.generate()
    assert jwks[0]["d"] not in repr(keys)
    assert "PrivateKey" not in repr(keys)


def test_ml_dsa_65_agrees_with_the_examples_of_rfc_9964() -> None:
    path = Path(__file__).parents[2] / "vectors/ml_dsa/ml-dsa-65.json"
    example = json.loads(path.read_text(encoding="utf-8"))
    jwk = generate_ml_dsa_65_jwk(KeyUse.SIGNING, seed=decode_base64url(example["priv"]))
    assert jwk["kid"] == example["thumbprint"]
    pair = VerifyingKeys.from_jwks(generate_ed25519_jwk(KeyUse.SIGNING), jwk)
    signed = example["signed"].encode()
    pair.ml_dsa_65.verify(decode_base64url(example["signature"]), signed)
    with pytest.raises(InvalidSignature):
        pair.ml_dsa_65.verify(decode_base64url(example["signature"]), signed + b"x")
