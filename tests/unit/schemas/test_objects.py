from datetime import timedelta
from typing import Any

import pytest

from schemas.codes import Compartment, ConsentGiver, ConsentState, ReceiptState
from schemas.envelope import (
    DigestMismatch,
    ForeignKeyring,
    parse_envelope,
    seal,
    verify_envelope,
)
from schemas.envelope.addendum import KeyringAddendum, open_addendum, seal_addendum_keyring
from schemas.envelope.sections import open_section
from schemas.errors import Conflict, MalformedMessage, SignatureInvalid
from schemas.header import SubjectToken
from schemas.keys import generate_encryption_jwk, public_part
from schemas.objects import OBJECT_TYPES, digest_object, peek_object, sign_object, type_header, verify_object
from schemas.objects.approval import Approval, ApprovalAction
from schemas.objects.consent import Capacity, Consent
from schemas.objects.control import DeletionConfirmedControl, EncryptionKeyControl
from schemas.objects.correspondence import Recall, Request, RequestStep
from schemas.objects.events import DecidedEvent, DecidedMembers, commit_rest, write_decided
from schemas.objects.receipt import NegativeReceipt, Receipt, check_next_receipt
from schemas.objects.registry import OBJECT_FORMS, read_object
from tests.support.deliveries import decide
from tests.support.envelopes import MESSAGE_ID, NOW, SENDER, build_sample, seeded_signer

SIGNER = seeded_signer("gp.one")
DIGEST = "D" * 43
TOKEN = SubjectToken(scheme="nhs", pepper_id="p1", value="70ce" * 16)
BINDING: dict[str, Any] = {
    "delivery_id": "delivery-00000000gp001",
    "message_id": MESSAGE_ID,
    "manifest_digest": DIGEST,
    "decision_leaf": DIGEST,
    "sender": SENDER,
    "recipient": "gp.one",
}
APPROVAL: dict[str, Any] = {
    "approval_id": "approval-0000000000001",
    "action": ApprovalAction.RELEASE,
    "approver": "person-1",
    "approver_agency": SENDER,
    "approver_role": "detective_inspector",
    "message_id": MESSAGE_ID,
    "manifest_digest": DIGEST,
    "delivery_id": "delivery-00000000gp001",
    "reason_code": "risk_to_life",
    "issued_at": NOW,
    "expires_at": NOW + timedelta(hours=1),
}
REQUEST: dict[str, Any] = {
    "request_id": "request-00000000000001",
    "requester": "csc.marchshire",
    "requester_role": "social_worker",
    "recipient": "gp.one",
    "person": "person-2",
    "statutory_task": "CA 1989 s.47",
    "purpose": "safeguard_child",
    "compartments": (Compartment.C07,),
    "subject_tokens": (TOKEN,),
    "conversation": "conversation-000000001",
    "issued_at": NOW,
    "answer_due_at": NOW + timedelta(days=1),
}


def receipt(state: ReceiptState, previous: str | None, **changes: Any) -> Receipt:
    fields = {
        **BINDING,
        "receipt_id": f"receipt-{state.value:0>14}",
        "referral_id": "referral-0000000000001",
        "state": state,
        "at": NOW,
        "sections": ("section-00000000000001",),
        "previous": previous,
    }
    return Receipt(**(fields | changes))


EXAMPLES: dict[str, Any] = {
    "receipt": receipt(ReceiptState.ACCEPTED, None),
    "negative_receipt": NegativeReceipt(**BINDING, none_logged_by=NOW, log_size=9),
    "consent": Consent(
        consent_id="consent-00000000000001",
        recorded_by=SENDER,
        recorder="person-1",
        recorded_at=NOW,
        subject_tokens=(TOKEN,),
        state=ConsentState.GIVEN,
        giver=ConsentGiver.CHILD,
        capacity=Capacity.GILLICK,
        assessor="person-3",
    ),
    "approval": Approval(**APPROVAL),
    "recall": Recall(
        recall_id="recall-000000000000001",
        sender=SENDER,
        message_id=MESSAGE_ID,
        referral_id="referral-0000000000001",
        manifest_digest=DIGEST,
        reason_code="wrong_person",
        issued_at=NOW,
        delete_by=NOW + timedelta(days=2),
    ),
    "request": Request(**REQUEST),
    "control": DeletionConfirmedControl(
        agency="gp.one",
        recall_id="recall-000000000000001",
        message_id=MESSAGE_ID,
        delivery_id="delivery-00000000gp001",
        deleted_at=NOW,
    ),
}


@pytest.mark.parametrize("object_type", sorted(EXAMPLES))
def test_objects_are_signed_and_read_again(object_type: str) -> None:
    body = sign_object(object_type, EXAMPLES[object_type], SIGNER)
    assert read_object(object_type, body, [SIGNER.public]) == EXAMPLES[object_type]
    assert peek_object(body) == verify_object(object_type, body, [SIGNER.public])
    assert len(digest_object(body)) == 43


def test_no_signature_for_one_type_counts_for_another() -> None:
    assert len({type_header(t) for t in OBJECT_TYPES}) == len(OBJECT_TYPES)
    body = sign_object("receipt", EXAMPLES["receipt"], SIGNER)
    for other in sorted(OBJECT_TYPES - {"receipt"}):
        with pytest.raises(SignatureInvalid):
            verify_object(other, body, [SIGNER.public])


def test_every_type_but_the_directory_has_a_model() -> None:
    assert OBJECT_FORMS.keys() == OBJECT_TYPES - {"directory"}


def test_the_digest_of_a_chain_is_of_the_statement_not_of_one_signing() -> None:
    first, second = (sign_object("receipt", EXAMPLES["receipt"], SIGNER) for _ in range(2))
    assert first != second  # ML-DSA signing is hedged
    assert digest_object(first) == digest_object(second)


def test_receipts_form_one_chain() -> None:
    chain: list[tuple[str, Receipt]] = []
    for state in (ReceiptState.ACCEPTED, ReceiptState.OPENED, ReceiptState.ACTIONED):
        step = receipt(state, chain[-1][0] if chain else None)
        check_next_receipt(step, chain)
        chain.append((digest_object(sign_object("receipt", step, SIGNER)), step))
    with pytest.raises(Conflict):
        check_next_receipt(receipt(ReceiptState.REFUSED, chain[-1][0], reason_code="justified"), chain)


def test_receipts_out_of_place_are_refused() -> None:
    accepted = receipt(ReceiptState.ACCEPTED, None)
    chain = [(DIGEST, accepted)]
    check_next_receipt(receipt(ReceiptState.REFUSED, DIGEST, reason_code="not_our_child"), chain)
    check_next_receipt(receipt(ReceiptState.REFUSED, None, reason_code="not_our_child"), [])
    for wrong in (
        receipt(ReceiptState.ACCEPTED, None),
        receipt(ReceiptState.ACTIONED, DIGEST),
        receipt(ReceiptState.OPENED, "E" * 43),
        receipt(ReceiptState.OPENED, DIGEST, delivery_id="delivery-00000000zzz01"),
        receipt(ReceiptState.OPENED, DIGEST, sections=()),
    ):
        with pytest.raises(Conflict):
            check_next_receipt(wrong, chain)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Receipt, receipt(ReceiptState.ACCEPTED, None).model_dump() | {"state": "refused"}),
        (Receipt, receipt(ReceiptState.ACCEPTED, None).model_dump() | {"state": "opened"}),
        (
            Receipt,
            receipt(ReceiptState.ACCEPTED, None).model_dump()
            | {"sections": ("section-00000000000002", "section-00000000000001")},
        ),
        (Approval, APPROVAL | {"requester": "person-1"}),
        (Approval, APPROVAL | {"expires_at": NOW}),
        (Approval, APPROVAL | {"delivery_id": None}),
        (Approval, APPROVAL | {"action": "disclosure_token"}),
        (Approval, APPROVAL | {"reason_code": "free text\nof two lines"}),
        (Request, REQUEST | {"compartments": ()}),
        (Request, REQUEST | {"step": RequestStep.REFUSED, "previous": DIGEST}),
        (Request, REQUEST | {"step": RequestStep.ANSWERED, "previous": DIGEST}),
        (Request, REQUEST | {"previous": DIGEST}),
        (Consent, EXAMPLES["consent"].model_dump() | {"giver": None}),
        (Consent, EXAMPLES["consent"].model_dump() | {"assessor": None}),
        (Consent, EXAMPLES["consent"].model_dump() | {"state": "withdrawn"}),
    ],
)
def test_incomplete_objects_are_refused(model: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        model(**fields)


def test_a_late_keyring_opens_the_held_section_and_no_more() -> None:
    sample = build_sample()
    sealed = seal(sample.draft, sample.signer, sample.encryption)
    verified = verify_envelope(parse_envelope(sealed.body), [sample.signer.public], now=NOW)
    jwk = sample.encryption["delivery-00000000csc01"]
    keys = {
        name: (sealed.section_keys[name], sealed.ciphertext_digests[name])
        for name in ("section-00000000000007", "section-00000000000004")
    }
    keyring, descriptor = seal_addendum_keyring((MESSAGE_ID, SENDER, "delivery-00000000csc01"), keys, public_part(jwk))
    addendum = KeyringAddendum(
        addendum_id="addendum-0000000000001",
        message_id=MESSAGE_ID,
        referral_id="referral-0000000000001",
        manifest_digest=sealed.manifest_digest,
        sender=SENDER,
        delivery_id="delivery-00000000csc01",
        recipient="csc.marchshire",
        sections=("section-00000000000007",),
        keyring=keyring,
        keyring_descriptor=descriptor,
        approvals=(DIGEST,),
        issued_at=NOW,
    )
    body = sign_object("keyring_addendum", addendum, sample.signer)
    read = read_object("keyring_addendum", body, [sample.signer.public])
    assert isinstance(read, KeyringAddendum)
    opened = open_addendum(read, {jwk["kid"]: jwk}, allowed=["section-00000000000007", "section-00000000000004"])
    assert opened.keys() == {"section-00000000000007"}
    section = open_section(
        verified.sections["section-00000000000007"],
        verified.descriptors["section-00000000000007"],
        opened["section-00000000000007"][0],
        MESSAGE_ID,
        SENDER,
    )
    assert section.compartment is Compartment.C12
    other = generate_encryption_jwk()
    with pytest.raises(ForeignKeyring):
        open_addendum(read, {other["kid"]: other}, allowed=["section-00000000000007"])
    with pytest.raises(ForeignKeyring):
        open_addendum(read.model_copy(update={"delivery_id": "delivery-00000000gp001"}), {jwk["kid"]: jwk}, allowed=[])
    swapped = read.keyring | {"iv": "A" * 16}
    with pytest.raises(DigestMismatch):
        open_addendum(read.model_copy(update={"keyring": swapped}), {jwk["kid"]: jwk}, allowed=[])


def test_a_decided_event_is_canonical_and_names_only_what_was_released() -> None:
    sample = build_sample()
    sealed = seal(sample.draft, sample.signer, sample.encryption)
    verified = verify_envelope(parse_envelope(sealed.body), [sample.signer.public], now=NOW)
    event = decide(verified, "delivery-00000000gp001", ["section-00000000000001"])
    data = event.to_bytes()
    assert DecidedEvent.from_bytes(data) == event
    assert DecidedEvent.from_bytes(data).to_bytes() == data
    assert b"section-00000000000004" not in data
    with pytest.raises(MalformedMessage):
        DecidedEvent.from_bytes(data.replace(b'"decided"', b'"forgot"'))
    one, two = commit_rest({"C05": "withheld"}, bytes(32)), commit_rest({"C05": "held"}, bytes(32))
    assert len({one, two, commit_rest({"C05": "withheld"}, b"s" * 32)}) == 3


def test_a_decided_event_is_written_as_its_model_writes_it() -> None:
    sample = build_sample()
    sealed = seal(sample.draft, sample.signer, sample.encryption)
    verified = verify_envelope(parse_envelope(sealed.body), [sample.signer.public], now=NOW)
    for at in (NOW, NOW.replace(microsecond=120_000)):
        model = decide(verified, "delivery-00000000gp001", ["section-00000000000001"], at=at)
        members: Any = {name: getattr(model, name) for name in DecidedMembers.__annotations__}
        assert write_decided(members) == model.to_bytes()
    assert DecidedMembers.__annotations__.keys() == DecidedEvent.model_fields.keys() - {"event", "version"}


def test_an_encryption_key_is_announced_as_a_control_object() -> None:
    jwk = generate_encryption_jwk()
    control = EncryptionKeyControl(
        agency="gp.one", jwk=public_part(jwk), not_before=NOW, not_after=NOW + timedelta(days=7)
    )
    body = sign_object("control", control, SIGNER)
    assert read_object("control", body, [SIGNER.public]) == control
    unknown = sign_object("control", control.model_dump(mode="json") | {"control": "self_destruct"}, SIGNER)
    with pytest.raises(MalformedMessage):
        read_object("control", unknown, [SIGNER.public])
