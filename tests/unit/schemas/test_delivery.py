import json
from dataclasses import replace
from datetime import timedelta

import pytest

from schemas.canonical import canonical_bytes, decode_base64url
from schemas.envelope import (
    DeliveryTampered,
    ForeignKeyring,
    UndeclaredEntry,
    VerifiedDelivery,
    open_delivery,
    parse_delivery,
    parse_envelope,
    redact_for,
    seal,
    verify_delivery,
    verify_envelope,
)
from schemas.errors import IntegrityBroken, MalformedMessage, SafelaneError, SignatureInvalid
from schemas.keys import SigningKeys
from tests.support.deliveries import decide, log_and_deliver, log_verifier
from tests.support.envelopes import DELIVERIES, NOW, SENDER, SeededBytes, build_sample, seeded_signer

SAMPLE = build_sample()
SEALED = seal(SAMPLE.draft, SAMPLE.signer, SAMPLE.encryption, rng=SeededBytes("delivery"))
VERIFIED = verify_envelope(parse_envelope(SEALED.body), [SAMPLE.signer.public], now=NOW, sender=SENDER)
SCHOOL = "delivery-00000000dsl01"
SCHOOL_KEY = SAMPLE.encryption[SCHOOL]


def verify(body: bytes, *, signer: SigningKeys = SAMPLE.signer, recipient: str = "school.one") -> VerifiedDelivery:
    return verify_delivery(
        parse_delivery(body),
        [signer.public],
        log_verifier(),
        recipient=recipient,
        kids={SCHOOL_KEY["kid"]},
        now=NOW,
    )


def deliver(*released: str) -> bytes:
    return log_and_deliver(VERIFIED, decide(VERIFIED, SCHOOL, released))


def test_a_recipient_opens_exactly_what_was_released() -> None:
    verified = verify(deliver("section-00000000000001", "section-00000000000004"))
    opened = open_delivery(verified, {SCHOOL_KEY["kid"]: SCHOOL_KEY})
    assert {section.section_id for section in opened} == {"section-00000000000001", "section-00000000000004"}
    by_id = {section.section_id: section for section in opened}
    assert by_id["section-00000000000001"].content["text"].startswith("invented section-00000000000001")
    assert by_id["section-00000000000004"].form.value == "summary"
    assert verified.case == SAMPLE.draft.header.case
    assert [subject.subject_id for subject in verified.subjects] == ["subject-0000000000aaaa"]
    assert verified.delivery.agency == "school.one"
    assert verified.manifest_digest == SEALED.manifest_digest


def test_a_delivery_holds_nothing_of_the_rest() -> None:
    body = deliver("section-00000000000001", "section-00000000000006")
    raw = json.loads(body)
    readable = body + b"".join(decode_base64url(opening) for opening in raw["openings"])
    readable += decode_base64url(raw["manifest"]["payload"]) + decode_base64url(raw["decision"]["event"])
    readable += decode_base64url(raw["keyring"]["protected"])
    readable += b"".join(decode_base64url(jwe.partition(".")[0]) for jwe in raw["sections"].values())
    for hidden in (
        b"subject-0000000000bbbb",  # a sibling
        b"gp.one",  # another recipient
        b"csc.marchshire",
        b"delivery-00000000gp001",
        b'"C12"',  # a compartment that is held
        b'"C05"',
        b"section-00000000000007",
        b"section-00000000000008",  # granted by the sender, not released by the hub
        b"70ce" * 16,  # the pseudonym
        b"tied_agencies",
        b"tell_status",
        b"voice_absent",
    ):
        assert hidden not in readable
    assert b"subject-0000000000aaaa" in readable


def test_a_keyring_does_not_say_how_many_sections_were_granted() -> None:
    sizes = {len(verifying["ciphertext"]) for verifying in VERIFIED.keyrings.values()}
    assert len(sizes) == 1


def test_the_hub_can_only_narrow() -> None:
    for section_ids in (
        ["section-00000000000007"],
        ["section-00000000000002"],
        ["section-00000000000001", "section-00000000009999"],
    ):
        with pytest.raises(UndeclaredEntry):
            redact_for(VERIFIED, SCHOOL, section_ids)
    with pytest.raises(UndeclaredEntry):
        redact_for(VERIFIED, "delivery-00000000zzz01", [])


def test_sections_travel_as_they_were_sealed() -> None:
    parts = redact_for(VERIFIED, SCHOOL, ["section-00000000000001"])
    assert parts.sections["section-00000000000001"] == json.loads(SEALED.body)["sections"]["section-00000000000001"]


def test_nothing_released_means_no_keyring() -> None:
    verified = verify(deliver())
    assert verified.keyring is None
    assert open_delivery(verified, {}) == []


def test_a_delivery_for_another_agency_is_refused() -> None:
    with pytest.raises(DeliveryTampered):
        verify(deliver("section-00000000000001"), recipient="gp.one")


def test_keys_of_another_sender_do_not_verify_it() -> None:
    with pytest.raises(SignatureInvalid):
        verify(deliver("section-00000000000001"), signer=seeded_signer("police.elsewhere"))


def test_a_key_that_the_recipient_lacks_is_named_as_such() -> None:
    body = deliver("section-00000000000001")
    with pytest.raises(ForeignKeyring):
        verify_delivery(
            parse_delivery(body), [SAMPLE.signer.public], log_verifier(), recipient="school.one", kids=set(), now=NOW
        )
    with pytest.raises(ForeignKeyring):
        open_delivery(verify(body), {})


def test_a_message_sealed_in_the_future_is_refused_and_a_decision_on_a_set_clock_is_not() -> None:
    body = log_and_deliver(VERIFIED, decide(VERIFIED, SCHOOL, ["section-00000000000001"], at=NOW + timedelta(days=30)))
    assert verify(body)
    early = VERIFIED.manifest.issued_at - timedelta(hours=1)
    with pytest.raises(DeliveryTampered):
        verify_delivery(
            parse_delivery(body),
            [SAMPLE.signer.public],
            log_verifier(),
            recipient="school.one",
            kids={SCHOOL_KEY["kid"]},
            now=early,
        )


def test_another_recipients_keyring_is_tampering() -> None:
    body = json.loads(deliver("section-00000000000001"))
    body["keyring"] = VERIFIED.keyrings["delivery-00000000gp001"]
    with pytest.raises(IntegrityBroken):
        verify(canonical_bytes(body))


def test_another_deliverys_decision_is_refused() -> None:
    mine = json.loads(deliver("section-00000000000001"))
    event = decide(VERIFIED, "delivery-00000000gp001", ["section-00000000000001"])
    theirs = json.loads(log_and_deliver(VERIFIED, event))
    with pytest.raises(DeliveryTampered):
        verify(canonical_bytes(mine | {"decision": theirs["decision"], "proof": theirs["proof"]}))


def test_any_changed_member_gives_a_typed_error() -> None:
    body = json.loads(deliver("section-00000000000001", "section-00000000000004"))
    for member in body:
        for value in (None, "", [], {}, 3, "x", {"a": "b"}, ["x"]):
            if member == "keyring" and value is None:
                continue
            with pytest.raises(SafelaneError):
                verify(canonical_bytes(body | {member: value}))


def test_only_verification_makes_a_verified_delivery() -> None:
    verified = verify(deliver("section-00000000000001"))
    with pytest.raises(TypeError):
        replace(verified, witness=None)


def test_what_is_no_delivery_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        parse_delivery(SEALED.body)


def test_every_recipient_of_the_sample_can_open_its_part() -> None:
    for delivery_id, agency in DELIVERIES.items():
        jwk = SAMPLE.encryption[delivery_id]
        granted = SAMPLE.draft.grants[delivery_id]
        body = log_and_deliver(VERIFIED, decide(VERIFIED, delivery_id, granted))
        verified = verify_delivery(
            parse_delivery(body), [SAMPLE.signer.public], log_verifier(), recipient=agency, kids={jwk["kid"]}, now=NOW
        )
        assert len(open_delivery(verified, {jwk["kid"]: jwk})) == len(granted)
