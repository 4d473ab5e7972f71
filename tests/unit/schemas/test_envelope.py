import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.canonical import canonical_bytes, decode_base64url, sha256_base64url
from schemas.envelope import (
    DigestMismatch,
    SectionDraft,
    VerifiedEnvelope,
    parse_envelope,
    seal,
    sections,
    verify_envelope,
)
from schemas.envelope.entries import add_decoys, write_openings
from schemas.envelope.sections import open_keyring, pad_to_bucket
from schemas.errors import MalformedMessage, SafelaneError, SignatureInvalid, TooLarge
from schemas.keys import KeyUse, generate_ed25519_jwk
from tests.support.envelopes import DELIVERIES, NOW, SENDER, SeededBytes, build_sample

SAMPLE = build_sample()
SEALED = seal(SAMPLE.draft, SAMPLE.signer, SAMPLE.encryption, rng=SeededBytes("envelope"))
KEYS = [SAMPLE.signer.public]


def verify(body: bytes) -> VerifiedEnvelope:
    return verify_envelope(parse_envelope(body), KEYS, now=NOW, sender=SENDER)


def test_what_is_sealed_is_verified() -> None:
    verified = verify(SEALED.body)
    assert parse_envelope(SEALED.body).claimed_sender() == SENDER
    assert verified.manifest.message_id == SAMPLE.draft.facts.message_id
    assert verified.manifest_digest == SEALED.manifest_digest
    assert verified.header.case == SAMPLE.draft.header.case
    assert verified.header.policy == SAMPLE.draft.header.policy
    assert set(verified.header.subjects) == set(SAMPLE.draft.header.subjects)
    assert {d.delivery_id: set(d.granted_sections) for d in verified.header.deliveries} == {
        delivery_id: set(granted) for delivery_id, granted in SAMPLE.draft.grants.items()
    }
    assert verified.descriptors.keys() == SEALED.section_keys.keys()
    assert {name: d.ciphertext_sha256 for name, d in verified.descriptors.items()} == SEALED.ciphertext_digests
    assert (
        verified.keyring_descriptors["delivery-00000000csc01"].kid == SAMPLE.encryption["delivery-00000000csc01"]["kid"]
    )


def test_a_held_section_is_sealed_and_keyed_to_nobody() -> None:
    verified = verify(SEALED.body)
    keyed = set()
    for delivery_id, jwk in SAMPLE.encryption.items():
        keyed |= open_keyring(verified.keyrings[delivery_id], jwk).keys() & SEALED.section_keys.keys()
    assert verified.sections.keys() - keyed == {"section-00000000000007"}


def test_content_is_not_in_the_sealed_bytes() -> None:
    body = SEALED.body
    parts = json.loads(body)
    decoded = b"".join(decode_base64url(o) for o in parts["openings"])
    decoded += b"".join(decode_base64url(p) for jwe in parts["sections"].values() for p in jwe.split(".") if p)
    for text in (b"invented", b"xxxxxxxx"):
        assert text not in body
        assert text not in decoded


def test_sealing_twice_gives_other_bytes_and_the_same_meaning() -> None:
    again = seal(SAMPLE.draft, SAMPLE.signer, SAMPLE.encryption)
    assert again.body != SEALED.body
    assert again.section_keys["section-00000000000001"] != SEALED.section_keys["section-00000000000001"]
    assert verify(again.body).header.case == verify(SEALED.body).header.case


def test_the_manifest_says_little_of_how_much_there_is() -> None:
    payload = json.loads(decode_base64url(json.loads(SEALED.body)["manifest"]["payload"]))
    assert len(payload["digests"]) == 64
    assert payload["digests"] == sorted(payload["digests"])
    assert not {"subjects", "deliveries", "sections", "kind"} & payload.keys()


def test_openings_stand_in_the_order_of_their_digests() -> None:
    openings = json.loads(SEALED.body)["openings"]
    digests = [sha256_base64url(opening.encode()) for opening in openings]
    assert digests == sorted(digests)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_single_changed_byte_is_accepted(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(SEALED.body) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    altered = SEALED.body[:place] + bytes([SEALED.body[place] ^ bit]) + SEALED.body[place + 1 :]
    with pytest.raises(SafelaneError):
        verify(altered)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps({"manifest": text}).encode()))
def test_any_bytes_give_a_typed_error(body: bytes) -> None:
    with pytest.raises(SafelaneError):
        verify(body)


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.none() | st.text(max_size=5) | st.integers(0, 9),
        lambda x: st.lists(x) | st.dictionaries(st.text(max_size=3), x),
        max_leaves=8,
    )
)
def test_any_json_in_any_member_gives_a_typed_error(value: object) -> None:
    whole = json.loads(SEALED.body)
    for member in whole:
        body = canonical_bytes(whole | {member: value})
        with pytest.raises(SafelaneError):
            verify(body)


def test_only_verification_makes_a_verified_envelope() -> None:
    verified = verify(SEALED.body)
    with pytest.raises(TypeError):
        replace(verified, witness=object())


def test_the_user_that_published_it_must_be_its_sender() -> None:
    with pytest.raises(SignatureInvalid):
        verify_envelope(parse_envelope(SEALED.body), KEYS, now=NOW, sender="gp.one")


def test_time_counts_from_both_ends() -> None:
    unverified = parse_envelope(SEALED.body)
    verify_envelope(unverified, KEYS, now=NOW - timedelta(minutes=5), sender=SENDER)
    verify_envelope(unverified, KEYS, now=NOW + timedelta(days=7) - timedelta(seconds=1), sender=SENDER)
    for now in (NOW - timedelta(minutes=6), NOW + timedelta(days=7)):
        with pytest.raises(SafelaneError) as caught:
            verify_envelope(unverified, KEYS, now=now, sender=SENDER)
        assert caught.value.code == "not-fresh"


def test_drafts_that_contradict_themselves_are_refused() -> None:
    draft, keys = SAMPLE.draft, SAMPLE.encryption
    sections = list(draft.sections)
    wrong = [
        (replace(draft, sections=[*sections, sections[0]]), keys),
        (replace(draft, sections=[replace(sections[0], subject="subject-0000000000zzzz"), *sections[1:]]), keys),
        (replace(draft, grants={**draft.grants, "delivery-00000000zzz01": ["section-00000000000001"]}), keys),
        (replace(draft, grants={"delivery-00000000csc01": ["section-00000000009999"]}), keys),
        (draft, {}),
        (draft, keys | {"delivery-00000000csc01": generate_ed25519_jwk(KeyUse.API)}),
        (replace(draft, sections=[replace(sections[0], content={"weight": 1.5}), *sections[1:]]), keys),
    ]
    for bad, recipient_keys in wrong:
        with pytest.raises(MalformedMessage):
            seal(bad, SAMPLE.signer, recipient_keys)


def test_a_message_over_the_cap_is_not_sealed() -> None:
    big = replace(SAMPLE.draft.sections[0], content={"text": "x" * 13_000_000})
    with pytest.raises(TooLarge):
        seal(replace(SAMPLE.draft, sections=[big, *list(SAMPLE.draft.sections)[1:]]), SAMPLE.signer, SAMPLE.encryption)


def test_attachments_and_other_alphabets_travel() -> None:
    content = {"text": "Žofia 你好 🌊", "note": None, "list": [1, True, {"é": []}]}
    first = SectionDraft(
        "section-00000000000001", SAMPLE.draft.sections[0].compartment, "subject-0000000000aaaa", SAMPLE.draft.sections[0].form, content,
        attachments=({"name": "a.txt", "data": "QQ"},),
    )  # fmt: skip
    draft = replace(SAMPLE.draft, sections=[first, *list(SAMPLE.draft.sections)[1:]])
    verify(seal(draft, SAMPLE.signer, SAMPLE.encryption).body)


@given(st.integers(0, 400_000))
def test_padding_hides_lengths(length: int) -> None:
    padded = pad_to_bucket(b"{}".ljust(length, b" "))
    assert len(padded) >= length
    assert len(padded) in {512 << step for step in range(8)} or len(padded) % 65_536 == 0
    assert json.loads(padded) == {}


def test_decoys_fill_up_to_fixed_counts() -> None:
    for count, expected in ((1, 64), (64, 64), (65, 128), (1024, 1024)):
        openings = write_openings([(f"flag:{n}", n) for n in range(count)], rng=SeededBytes("decoys"))
        assert len(set(add_decoys(openings.keys(), rng=SeededBytes("fill")))) == expected
    with pytest.raises(TooLarge):
        add_decoys([str(n) for n in range(1025)], rng=SeededBytes("fill"))


def test_a_swapped_section_is_named_as_such() -> None:
    body = json.loads(SEALED.body)
    sections = body["sections"]
    sections["section-00000000000001"], sections["section-00000000000002"] = (
        sections["section-00000000000002"],
        sections["section-00000000000001"],
    )
    with pytest.raises(DigestMismatch):
        verify(canonical_bytes(body))


def test_every_delivery_of_the_sample_has_its_own_key() -> None:
    kids = {d.kid for d in verify(SEALED.body).keyring_descriptors.values()}
    assert len(kids) == len(DELIVERIES)


def test_protected_headers_are_as_the_hub_expects_them_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a header that we wrote ourselves was read word by word")

    monkeypatch.setattr(sections, "read_direct_header", never)
    monkeypatch.setattr(sections, "read_jose_header", never)
    verify(SEALED.body)
