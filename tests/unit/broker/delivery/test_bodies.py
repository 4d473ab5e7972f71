"""What is cut from stored bytes is what was cut when they were verified, byte for byte; stored bytes that changed are never sent."""

from hashlib import sha256

import pytest

from broker.delivery.bodies import cut_stored_delivery, join_evidence
from schemas.canonical import parse_object
from schemas.envelope import parse_envelope, redact_for, seal, verify_envelope
from schemas.errors import IntegrityBroken
from schemas.keys import public_part
from tests.support.envelopes import NOW, build_sample

SAMPLE = build_sample()
BODY = seal(SAMPLE.draft, SAMPLE.signer, {d: public_part(k) for d, k in SAMPLE.encryption.items()}).body
VERIFIED = verify_envelope(parse_envelope(BODY), [SAMPLE.signer.public], now=NOW)


@pytest.mark.parametrize("delivery", sorted(VERIFIED.header.deliveries, key=lambda d: d.agency), ids=lambda d: d.agency)
@pytest.mark.parametrize("most", [0, 1, 2, 99])
def test_the_stored_cut_is_the_verified_one(delivery: object, most: int) -> None:
    released = tuple(sorted(delivery.granted_sections))[:most]
    cut = cut_stored_delivery(BODY, sha256(BODY).digest(), delivery.delivery_id, released)
    assert cut == redact_for(VERIFIED, delivery.delivery_id, released)


def test_changed_bytes_are_never_sent() -> None:
    changed = BODY.replace(b"a", b"b", 1)
    with pytest.raises(IntegrityBroken):
        cut_stored_delivery(changed, sha256(BODY).digest(), "delivery-00000000csc01", ())


def test_evidence_is_added_beside_what_is_told() -> None:
    joined = parse_object(join_evidence(b'{"outcome":"accepted"}', b"event", b"salt", "proof\n"), max_bytes=1000)
    assert joined == {"outcome": "accepted", "event": "ZXZlbnQ", "salt": "c2FsdA", "proof": "proof\n"}
