"""A delivery is opened only when everything in it is what the sender signed and the log says was released."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from adapters.gateway.incoming.opening import CannotOpen, NotForUs, SenderUnknown, open_incoming
from adapters.gateway.incoming.received import ReceivedReferral
from schemas.canonical import encode_base64url
from schemas.codes import Compartment, DeliveryOutcome
from schemas.directory import Directory
from schemas.envelope import DeliveryTampered, ForeignKeyring, ProofInvalid
from schemas.errors import MalformedMessage, SafelaneError, SignatureInvalid
from tests.support.deliveries import decide, log_and_deliver
from tests.support.envelopes import NOW, SENDER, seeded_encryption_jwk, seeded_signing_jwks
from tests.support.receiving import DELIVERY, RECIPIENT, make_delivery, make_verified_directory, seal_sample

RECEIVED_AT = NOW + timedelta(seconds=7)


def open_body(body: bytes, **changes: Any) -> ReceivedReferral:
    jwk = seeded_encryption_jwk(RECIPIENT)
    parts: dict[str, Any] = {
        "agency": RECIPIENT,
        "directory": make_verified_directory(),
        "private_jwks": {jwk["kid"]: jwk},
        "now": NOW,
        "received_at": RECEIVED_AT,
    }
    return open_incoming(body, **(parts | changes))


def test_an_honest_delivery_opens_to_exactly_what_was_released() -> None:
    received = open_body(make_delivery())
    assert [(s.section_id, s.compartment) for s in received.sections] == [
        ("section-00000000000001", Compartment.C01),
        ("section-00000000000003", Compartment.C04),
    ]
    assert received.sections[0].content["text"].startswith("invented section-00000000000001")
    assert received.received_at == RECEIVED_AT
    assert (received.sender_name, received.area_name) == (f"Agency {SENDER}", "Sampleshire")
    assert received.sender_contacts[0].phone == "01632 960120"


def test_nothing_of_the_rest_is_in_the_result() -> None:
    text = json.dumps(open_body(make_delivery()).to_json())
    for absent in (
        "section-00000000000007",
        "section-00000000000005",
        "subject-0000000000bbbb",
        "school.one",
        "gp.one",
        "delivery-00000000dsl01",
        "70ce" * 16,
        "rest",
    ):
        assert absent not in text


def tamper(change: Callable[[dict[str, Any]], None]) -> bytes:
    members = json.loads(make_delivery())
    change(members)
    return json.dumps(members).encode()


def drop_section(members: dict[str, Any]) -> None:
    del members["sections"]["section-00000000000003"]


def swap_sections(members: dict[str, Any]) -> None:
    sections = members["sections"]
    sections["section-00000000000001"], sections["section-00000000000003"] = (
        sections["section-00000000000003"],
        sections["section-00000000000001"],
    )


def add_section(members: dict[str, Any]) -> None:
    members["sections"]["section-00000000000005"] = seal_sample().sections["section-00000000000005"]


def forge_opening(members: dict[str, Any]) -> None:
    forged = json.dumps(["c2FsdA", "case", {"kind": "MARF"}]).encode()
    members["openings"][0] = encode_base64url(forged)


def drop_keyring(members: dict[str, Any]) -> None:
    members["keyring"] = None


def take_other_keyring(members: dict[str, Any]) -> None:
    members["keyring"] = dict(seal_sample().keyrings["delivery-00000000dsl01"])


def change_decision(members: dict[str, Any]) -> None:
    event = decide(seal_sample(), DELIVERY, ("section-00000000000001",), reason="another")
    members["decision"]["event"] = encode_base64url(event.to_bytes())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (drop_section, DeliveryTampered),
        (swap_sections, DeliveryTampered),
        (add_section, DeliveryTampered),
        (forge_opening, DeliveryTampered),
        (drop_keyring, DeliveryTampered),
        (take_other_keyring, DeliveryTampered),
        (change_decision, ProofInvalid),
    ],
)
def test_a_hub_that_alters_a_delivery_is_refused(
    change: Callable[[dict[str, Any]], None], error: type[SafelaneError]
) -> None:
    with pytest.raises(error):
        open_body(tamper(change))


def test_a_section_dropped_with_its_opening_is_refused_although_the_rest_is_consistent() -> None:
    """The hub logs two sections and delivers one, with matching openings: only the log's decision tells."""
    verified = seal_sample()
    both = decide(verified, DELIVERY, ("section-00000000000001", "section-00000000000003"))
    narrow = json.loads(log_and_deliver(verified, decide(verified, DELIVERY, ("section-00000000000001",))))
    wide = json.loads(log_and_deliver(verified, both))
    mixed = wide | {"sections": narrow["sections"], "openings": narrow["openings"]}
    with pytest.raises(DeliveryTampered):
        open_body(json.dumps(mixed).encode())


def test_a_log_that_is_not_the_directorys_proves_nothing() -> None:
    verified = seal_sample()
    with pytest.raises(ProofInvalid):
        open_body(
            log_and_deliver(verified, decide(verified, DELIVERY, ("section-00000000000001",)), log_name="other hub")
        )


@pytest.mark.parametrize("half", [0, 1])
def test_a_revoked_half_of_the_senders_pair_ends_its_signatures(half: int) -> None:
    thumbprint = seeded_signing_jwks(SENDER)[half]["kid"]
    with pytest.raises(SenderUnknown):
        open_body(make_delivery(), directory=make_verified_directory(revoked=(thumbprint,)))


def test_a_sender_outside_the_directory_is_refused() -> None:
    with pytest.raises(SenderUnknown):
        open_body(make_delivery(), directory=make_verified_directory(left_out=(SENDER,)))


def test_another_senders_signature_is_refused() -> None:
    directory = make_verified_directory()
    swapped = directory.signing_keys | {SENDER: directory.signing_keys["school.one"]}
    object.__setattr__(directory, "signing_keys", swapped)
    with pytest.raises(SignatureInvalid):
        open_body(make_delivery(), directory=directory)


def test_somebody_elses_delivery_is_refused() -> None:
    verified = seal_sample()
    theirs = log_and_deliver(verified, decide(verified, "delivery-00000000dsl01", ("section-00000000000001",)))
    with pytest.raises((DeliveryTampered, ForeignKeyring)):
        open_body(theirs)


def test_a_key_that_is_gone_is_named_as_such() -> None:
    other = seeded_encryption_jwk("an older key")
    with pytest.raises(ForeignKeyring):
        open_body(make_delivery(), private_jwks={other["kid"]: other})


def test_a_private_key_that_does_not_open_leaves_a_binding_for_the_refusal() -> None:
    kid = seeded_encryption_jwk(RECIPIENT)["kid"]
    with pytest.raises(CannotOpen) as caught:
        open_body(make_delivery(), private_jwks={kid: seeded_encryption_jwk("wrong")})
    assert caught.value.binding.delivery_id == DELIVERY
    assert caught.value.binding.sections == ("section-00000000000001", "section-00000000000003")


def test_a_role_that_the_directory_does_not_give_us_is_refused() -> None:
    directory = make_verified_directory()
    agencies = tuple(
        a.model_copy(update={"roles": ("early_help",)}) if a.id == RECIPIENT else a
        for a in directory.directory.agencies
    )
    changed: Directory = directory.directory.model_copy(update={"agencies": agencies})
    object.__setattr__(directory, "directory", changed)
    with pytest.raises(NotForUs):
        open_body(make_delivery(), directory=directory)


@pytest.mark.parametrize("outcome", [DeliveryOutcome.HELD, DeliveryOutcome.WITHHELD])
def test_a_decision_that_does_not_deliver_is_refused(outcome: DeliveryOutcome) -> None:
    with pytest.raises(DeliveryTampered):
        open_body(make_delivery(outcome=outcome))


def test_the_contact_that_the_decision_names_is_kept() -> None:
    assert open_body(make_delivery(contact="mash-deputy")).contact == "mash-deputy"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"a": 1, "a": 2}', b"\xff" * 40])
def test_what_is_not_a_delivery_is_a_typed_error(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        open_body(body)


@pytest.mark.parametrize("contact", ["ambulance", "somebody-else"])
def test_the_hub_cannot_hand_it_to_a_contact_without_the_role(contact: str) -> None:
    with pytest.raises(DeliveryTampered):
        open_body(make_delivery(contact=contact))
