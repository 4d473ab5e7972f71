import json
from typing import Any

import pytest

from schemas.canonical import canonical_bytes
from schemas.envelope import (
    DeliveryTampered,
    KeyringAddendum,
    VerifiedDelivery,
    open_delivery,
    parse_delivery,
    parse_envelope,
    seal,
    seal_addendum_keyring,
    verify_delivery,
    verify_envelope,
)
from schemas.errors import MalformedMessage, SignatureInvalid
from schemas.keys import SigningKeys, public_part
from schemas.objects import sign_object
from tests.support.deliveries import decide, log_and_deliver, log_verifier
from tests.support.envelopes import MESSAGE_ID, NOW, SENDER, SeededBytes, build_sample, seeded_signer

HELD = "section-00000000000007"
DELIVERY = "delivery-00000000csc01"
SAMPLE = build_sample()
SEALED = seal(SAMPLE.draft, SAMPLE.signer, SAMPLE.encryption, rng=SeededBytes("late"))
VERIFIED = verify_envelope(parse_envelope(SEALED.body), [SAMPLE.signer.public], now=NOW)
JWK = SAMPLE.encryption[DELIVERY]


def late(signer: SigningKeys = SAMPLE.signer, decided: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """Return a late delivery of the held section, by an addendum with ``changes``."""
    keys = {HELD: (SEALED.section_keys[HELD], SEALED.ciphertext_digests[HELD])}
    keyring, descriptor = seal_addendum_keyring((MESSAGE_ID, SENDER, DELIVERY), keys, public_part(JWK))
    fields: dict[str, Any] = {
        "addendum_id": "addendum-0000000000001",
        "message_id": MESSAGE_ID,
        "referral_id": "referral-0000000000001",
        "manifest_digest": SEALED.manifest_digest,
        "sender": SENDER,
        "delivery_id": DELIVERY,
        "recipient": "csc.marchshire",
        "sections": (HELD,),
        "keyring": keyring,
        "keyring_descriptor": descriptor,
        "approvals": ("D" * 43,),
        "issued_at": NOW,
    }
    body = sign_object("keyring_addendum", KeyringAddendum(**(fields | changes)), signer)
    event = decide(VERIFIED, DELIVERY, [HELD], **(decided or {}))
    return log_and_deliver(VERIFIED, event, addendum=body, added=[HELD])


def verify(body: bytes) -> VerifiedDelivery:
    return verify_delivery(
        parse_delivery(body),
        [SAMPLE.signer.public],
        log_verifier(),
        recipient="csc.marchshire",
        kids={JWK["kid"]},
        now=NOW,
    )


def test_a_held_section_opens_once_its_sender_adds_the_key() -> None:
    verified = verify(late())
    opened = open_delivery(verified, {JWK["kid"]: JWK})
    assert [section.section_id for section in opened] == [HELD]
    assert verified.keyring is None
    assert opened[0].compartment.value == "C12"


def test_a_late_delivery_without_its_addendum_is_refused() -> None:
    body = json.loads(late())
    del body["addendum"]
    with pytest.raises(DeliveryTampered):
        verify(canonical_bytes(body))
    with pytest.raises(MalformedMessage):
        verify(canonical_bytes(body | {"addendum": None}))


def test_only_the_sender_can_add_keys() -> None:
    with pytest.raises(SignatureInvalid):
        verify(late(seeded_signer("hub")))


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest_digest": "E" * 43},
        {"delivery_id": "delivery-00000000gp001"},
        {"recipient": "gp.one"},
        {"sender": "police.elsewhere"},
        {"sections": ("section-00000000000002",)},
    ],
)
def test_an_addendum_about_something_else_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DeliveryTampered):
        verify(late(**changes))


def test_the_decision_must_name_the_addendums_key() -> None:
    with pytest.raises(DeliveryTampered):
        verify(late(decided={"keyring_kid": "E" * 43}))
