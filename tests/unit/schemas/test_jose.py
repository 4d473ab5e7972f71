import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url
from schemas.errors import MalformedMessage, NotAuthenticated, SignatureInvalid
from schemas.jose import (
    DecryptionFailed,
    compact_form,
    decrypt_direct,
    encrypt_direct,
    encrypt_hpke,
    jwe_decrypt,
    peek_issuer,
    peek_payload,
    sign_jws,
    sign_jwt,
    verify_jws,
    verify_jwt,
)
from schemas.jose.content_encryption import KEY_BYTES, open_content
from schemas.keys import KeyUse, generate_ed25519_jwk, generate_encryption_jwk, load_hybrid_public_key, public_part
from tests.support.envelopes import SeededBytes, seeded_signer

DRAFT = json.loads((Path(__file__).parents[2] / "vectors/hpke/hpke-9-ke.json").read_text(encoding="utf-8"))
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
AUDIENCE = "https://hub.test"


def test_the_drafts_own_example_opens() -> None:
    plaintext = jwe_decrypt(DRAFT["flattened"], DRAFT["private_jwk"])
    assert plaintext.decode() == DRAFT["plaintext"]


def test_the_drafts_example_does_not_open_when_its_additional_data_is_altered() -> None:
    with pytest.raises(DecryptionFailed):
        jwe_decrypt(DRAFT["flattened"] | {"aad": encode_base64url(b"another ring")}, DRAFT["private_jwk"])


def test_ek_and_alg_may_stand_in_the_recipients_unprotected_header() -> None:
    # draft-ietf-jose-hpke-encrypt section 6 requires ek and alg, and leaves open in which header they stand.
    jwk = generate_encryption_jwk()
    cek, iv = bytes(range(32)), bytes(12)
    suite = Suite(KEM.MLKEM768_X25519, KDF.SHAKE256, AEAD.AES_256_GCM)
    sealed_key = suite.encrypt(cek, load_hybrid_public_key(jwk), b"JOSE-HPKE rcpt\xffA256GCM\xff")
    protected = encode_base64url(b'{"enc":"A256GCM"}')
    sealed = AESGCM(cek).encrypt(iv, b"plaintext", protected.encode())
    made = {
        "protected": protected,
        "header": {"alg": "HPKE-9-KE", "kid": jwk["kid"], "ek": encode_base64url(sealed_key[:1120])},
        "encrypted_key": encode_base64url(sealed_key[1120:]),
        "iv": encode_base64url(iv),
        "ciphertext": encode_base64url(sealed[:-16]),
        "tag": encode_base64url(sealed[-16:]),
    }
    assert jwe_decrypt(made, jwk) == b"plaintext"


@pytest.mark.parametrize("enc", ["A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM"])
def test_jwes_with_other_content_ciphers_open(enc: str) -> None:
    jwk = generate_encryption_jwk()
    suite = Suite(KEM.MLKEM768_X25519, KDF.SHAKE256, AEAD.AES_256_GCM)
    cek = bytes(range(KEY_BYTES[enc]))
    sealed_key = suite.encrypt(cek, load_hybrid_public_key(jwk), b"JOSE-HPKE rcpt\xff" + enc.encode() + b"\xff")
    header = {"alg": "HPKE-9-KE", "enc": enc, "ek": encode_base64url(sealed_key[:1120])}
    aad = encode_base64url(canonical_bytes(header)).encode()
    if enc.endswith("GCM"):
        iv = bytes(12)
        whole = AESGCM(cek).encrypt(iv, b"plaintext", aad)
        ciphertext, tag = whole[:-16], whole[-16:]
    else:
        iv, half = bytes(16), len(cek) // 2
        encryptor = Cipher(AES(cek[half:]), CBC(iv)).encryptor()
        ciphertext = encryptor.update(b"plaintext" + bytes([7]) * 7) + encryptor.finalize()
        signed = aad + iv + ciphertext + (len(aad) * 8).to_bytes(8)
        tag = hmac.new(cek[:half], signed, "sha" + enc[-3:]).digest()[:half]
    made = {"protected": aad.decode(), "encrypted_key": encode_base64url(sealed_key[1120:])}
    made |= {"iv": encode_base64url(iv), "ciphertext": encode_base64url(ciphertext), "tag": encode_base64url(tag)}
    assert jwe_decrypt(made, jwk) == b"plaintext"
    for member in ("iv", "ciphertext", "tag"):
        altered = bytes([decode_base64url(made[member])[0] ^ 1]) + decode_base64url(made[member])[1:]
        with pytest.raises(DecryptionFailed):
            jwe_decrypt(made | {member: encode_base64url(altered)}, jwk)


def test_cbc_content_agrees_with_rfc_7518_appendix_b() -> None:
    key = bytes(range(32))
    plaintext = (
        b"A cipher system must not be required to be secret, and it must be able to fall into the hands of the enemy "
        b"without inconvenience"
    )
    iv = bytes.fromhex("1af38c2dc2b96ffdd86694092341bc04")
    aad = b"The second principle of Auguste Kerckhoffs"
    encryptor = Cipher(AES(key[16:]), CBC(iv)).encryptor()
    pad = 16 - len(plaintext) % 16
    ciphertext = encryptor.update(plaintext + bytes([pad]) * pad) + encryptor.finalize()
    tag = bytes.fromhex("652c3fa36b0a7c5b3219fab3a30bc1c4")
    assert open_content("A128CBC-HS256", key, iv, (ciphertext, tag), aad) == plaintext


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 5000])
def test_hpke_goes_there_and_back(length: int) -> None:
    jwk = generate_encryption_jwk()
    plaintext = bytes(length)
    made = encrypt_hpke(plaintext, public_part(jwk), jwk["kid"], {"note": "x"}, rng=SeededBytes(str(length)))
    assert jwe_decrypt(made, jwk) == plaintext
    assert compact_form(made).count(b".") == 4
    with pytest.raises(DecryptionFailed):
        jwe_decrypt(made, generate_encryption_jwk())


@pytest.mark.parametrize("member", ["encrypted_key", "iv", "ciphertext", "tag"])
def test_a_jwe_without_a_member_is_malformed(member: str) -> None:
    jwk = generate_encryption_jwk()
    made = dict(encrypt_hpke(b"x", public_part(jwk), jwk["kid"], {}, rng=SeededBytes("m")))
    del made[member]
    with pytest.raises(MalformedMessage):
        jwe_decrypt(made, jwk)


def test_direct_encryption_goes_there_and_back_and_binds_its_header() -> None:
    key = bytes(range(32))
    compact = encrypt_direct(b"plaintext", key, {"label": "a"}, rng=SeededBytes("d"))
    assert decrypt_direct(compact, key, field="x") == b"plaintext"
    other = encrypt_direct(b"plaintext", key, {"label": "b"}, rng=SeededBytes("d"))
    with pytest.raises(DecryptionFailed):
        decrypt_direct(other.split(".", 1)[0] + "." + compact.split(".", 1)[1], key, field="x")
    for wrong in (bytes(32), bytes(16), b""):
        with pytest.raises(DecryptionFailed):
            decrypt_direct(compact, wrong, field="x")


@pytest.mark.parametrize("compact", ["", "a.b.c", "....", "e30..AAAA.AAAA.AAAA", "a.b.c.d.e"])
def test_what_is_no_compact_jwe_is_malformed(compact: str) -> None:
    with pytest.raises(MalformedMessage):
        decrypt_direct(compact, bytes(32), field="x")


def test_two_signatures_verify_and_no_part_can_be_changed() -> None:
    signer = seeded_signer("a")
    jws = sign_jws(b'{"a":1}', signer, "t+jws")
    assert verify_jws(jws, [seeded_signer("b").public, signer.public], "t+jws") == b'{"a":1}'
    assert peek_payload(jws) == b'{"a":1}'
    for keys, typ in (([], "t+jws"), ([seeded_signer("b").public], "t+jws"), ([signer.public], "u+jws")):
        with pytest.raises(SignatureInvalid):
            verify_jws(jws, keys, typ)
    first, second = jws["signatures"]
    broken: list[object] = [
        {},
        {"payload": jws["payload"]},
        jws | {"extra": 1},
        jws | {"payload": 3},
        jws | {"payload": encode_base64url(b'{"a":2}')},
        jws | {"signatures": "x"},
        jws | {"signatures": [first, first]},
        jws | {"signatures": [first, {**second, "signature": first["signature"]}]},
        jws | {"signatures": [{**first, "signature": None}, second]},
        jws | {"signatures": [{**first, "protected": 3}, second]},
        jws | {"signatures": [{**first, "protected": "é"}, second]},
    ]
    for changed in broken:
        with pytest.raises(SignatureInvalid) as caught:
            verify_jws(changed, [signer.public], "t+jws")  # type: ignore[arg-type]
        assert str(caught.value) == SignatureInvalid.public_message


def test_both_signatures_are_verified() -> None:
    # A signature of the right form by another key of the same kind, under the right key id.
    signer, other = seeded_signer("a"), seeded_signer("b")
    jws = sign_jws(b"{}", signer, "t+jws")
    for place, key in ((0, other.ed25519), (1, other.ml_dsa_65)):
        signatures = [dict(entry) for entry in jws["signatures"]]
        signed = f"{signatures[place]['protected']}.{jws['payload']}".encode()
        signatures[place]["signature"] = encode_base64url(key.sign(signed))
        with pytest.raises(SignatureInvalid):
            verify_jws(jws | {"signatures": signatures}, [signer.public], "t+jws")


def test_tokens_verify_for_their_audience_and_minutes_only() -> None:
    jwk = generate_ed25519_jwk(KeyUse.API)
    life = timedelta(minutes=2)
    token = sign_jwt("gp.one", AUDIENCE, jwk, jti="j1", now=NOW, lifetime=life)
    assert peek_issuer(token) == "gp.one"
    claims = verify_jwt(token, public_part(jwk), audience=AUDIENCE, now=NOW + timedelta(minutes=1))
    assert (claims["sub"], claims["jti"]) == ("gp.one", "j1")
    other = generate_ed25519_jwk(KeyUse.API)
    head, body, tail = token.split(".")
    none = encode_base64url(canonical_bytes({"alg": "none", "kid": jwk["kid"], "typ": "JWT"}))
    later = sign_jwt("gp.one", AUDIENCE, jwk, jti="j1", now=NOW, lifetime=timedelta(hours=1))
    attempts = [
        (token, other, AUDIENCE, NOW),
        (token, jwk, "https://else.test", NOW),
        (token, jwk, AUDIENCE, NOW + timedelta(minutes=3)),
        (token, jwk, AUDIENCE, NOW - timedelta(minutes=1)),
        (later, jwk, AUDIENCE, NOW),
        (f"{none}.{body}.{tail}", jwk, AUDIENCE, NOW),
        (f"{none}.{body}.", jwk, AUDIENCE, NOW),
        (f"{head}.{body}", jwk, AUDIENCE, NOW),
        ("x" * 5000, jwk, AUDIENCE, NOW),
        ("", jwk, AUDIENCE, NOW),
    ]
    for attempt, key, audience, now in attempts:
        with pytest.raises(NotAuthenticated):
            verify_jwt(attempt, public_part(key), audience=audience, now=now)


def test_a_signing_key_makes_no_tokens() -> None:
    with pytest.raises(MalformedMessage):
        sign_jwt(
            "gp.one", AUDIENCE, generate_ed25519_jwk(KeyUse.SIGNING), jti="j", now=NOW, lifetime=timedelta(minutes=1)
        )
