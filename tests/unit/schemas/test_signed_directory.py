"""Signed directories and key announcements: each defect is refused with its named error, by hub and gateways alike."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.canonical import canonical_bytes, parse_object
from schemas.directory import Agency, Directory, Partnership
from schemas.errors import MalformedMessage, SafelaneError, SignatureInvalid, TooLarge
from schemas.keys import KeyUse, SigningKeys, generate_ed25519_jwk, generate_encryption_jwk
from schemas.objects import sign_object
from schemas.signed_directory import (
    MAX_DIRECTORY_BYTES,
    announce_encryption_key,
    read_key_announcement,
    sign_directory,
    verify_directory,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
AUTHORITY, _ = SigningKeys.generate(KeyUse.AUTHORITY)
HUB, _ = SigningKeys.generate(KeyUse.AUTHORITY)
SCHOOL, _ = SigningKeys.generate()
AGENCY = Agency(
    id="school.oakfield",
    name="Oakfield",
    kind="education",
    roles=("dsl",),
    area="E10999001",
    public_body=True,
    s16la_body=True,
)
DIRECTORY = Directory(
    version=3,
    issued_at=NOW,
    expires_at=NOW + timedelta(days=30),
    partnership=Partnership(id="test"),
    agencies=(AGENCY,),
)


def test_a_directory_comes_back_as_it_was_signed() -> None:
    assert verify_directory(sign_directory(DIRECTORY, AUTHORITY), [AUTHORITY.public]) == DIRECTORY


def change(body: bytes, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    jws = parse_object(body, max_bytes=10**7)
    edit(jws)
    return canonical_bytes(jws)


GOOD = sign_directory(DIRECTORY, AUTHORITY)
THEIRS = parse_object(sign_directory(DIRECTORY, HUB), max_bytes=10**7)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(sign_directory(DIRECTORY, HUB), id="signed by the hub"),
        pytest.param(change(GOOD, lambda j: j["signatures"].pop()), id="post-quantum signature stripped"),
        pytest.param(change(GOOD, lambda j: j["signatures"].pop(0)), id="classical signature stripped"),
        pytest.param(change(GOOD, lambda j: j["signatures"].reverse()), id="signatures swapped"),
        pytest.param(change(GOOD, lambda j: j.update(payload=THEIRS["payload"][:-4] + "AAAA")), id="payload altered"),
        pytest.param(
            change(GOOD, lambda j: j["signatures"].__setitem__(0, THEIRS["signatures"][0])), id="half signed by the hub"
        ),
        pytest.param(sign_object("control", DIRECTORY.model_dump(mode="json"), AUTHORITY), id="another signed type"),
        pytest.param(change(GOOD, lambda j: j.update(header={})), id="unprotected header"),
    ],
)
def test_a_directory_that_the_authority_did_not_sign_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        verify_directory(body, [AUTHORITY.public])
    assert str(caught.value) == SignatureInvalid.public_message


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({"version": 0}, "directory.version"),
        ({"agencies": "all"}, "directory.agencies"),
        ({"surprise": 1}, "directory.(unknown member)"),
        ({"agencies": [AGENCY.model_dump(mode="json")] * 2}, "directory."),
    ],
)
def test_a_signed_directory_of_another_form_is_refused(payload: dict[str, Any], field: str) -> None:
    body = sign_object("directory", DIRECTORY.model_dump(mode="json") | payload, AUTHORITY)
    with pytest.raises(MalformedMessage) as caught:
        verify_directory(body, [AUTHORITY.public])
    assert caught.value.field == field


def test_a_huge_directory_is_not_parsed() -> None:
    with pytest.raises(TooLarge):
        verify_directory(b"x" * (MAX_DIRECTORY_BYTES + 1), [AUTHORITY.public])


def announce(**changes: Any) -> bytes:
    jwk = changes.pop("jwk", generate_encryption_jwk())
    signer = changes.pop("signer", SCHOOL)
    arguments = {"not_before": NOW, "not_after": NOW + timedelta(days=7)} | changes
    return announce_encryption_key("school.oakfield", jwk, signer=signer, **arguments)


def test_an_announcement_comes_back_without_its_private_part() -> None:
    jwk = generate_encryption_jwk()
    key = read_key_announcement(announce(jwk=jwk), "school.oakfield", [SCHOOL.public])
    assert key.kid == jwk["kid"]
    assert "priv" not in key.jwk
    assert (key.not_before, key.not_after) == (NOW, NOW + timedelta(days=7))


def control(**members: Any) -> bytes:
    jwk = {k: v for k, v in generate_encryption_jwk().items() if k != "priv"}
    base = {
        "control": "encryption_key", "agency": "school.oakfield", "jwk": jwk,
        "not_before": NOW.isoformat(), "not_after": (NOW + timedelta(days=7)).isoformat(),
    }  # fmt: skip
    return sign_object("control", {k: v for k, v in (base | members).items() if v is not None}, SCHOOL)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(announce(signer=HUB), id="signed by another"),
        pytest.param(announce(not_after=NOW + timedelta(days=60)), id="lives too long"),
        pytest.param(announce(not_after=NOW), id="never valid"),
        pytest.param(control(agency="police.marchshire"), id="another agency's"),
        pytest.param(control(control="revocation"), id="another control"),
        pytest.param(control(jwk=generate_encryption_jwk()), id="a private key"),
        pytest.param(control(jwk=generate_ed25519_jwk(KeyUse.API)), id="a key for another use"),
        pytest.param(control(jwk=None), id="no key"),
        pytest.param(control(not_before="yesterday"), id="no instant"),
        pytest.param(control(not_before="2026-11-23T09:00:00"), id="no offset"),
    ],
)
def test_a_wrong_announcement_is_refused(body: bytes) -> None:
    with pytest.raises(SafelaneError) as caught:
        read_key_announcement(body, "school.oakfield", [SCHOOL.public])
    assert isinstance(caught.value, SignatureInvalid | MalformedMessage)


def test_a_revoked_key_is_refused() -> None:
    jwk = generate_encryption_jwk()
    with pytest.raises(MalformedMessage):
        read_key_announcement(announce(jwk=jwk), "school.oakfield", [SCHOOL.public], {jwk["kid"]})
