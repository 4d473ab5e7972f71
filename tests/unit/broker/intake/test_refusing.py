"""What is kept of a message that is not taken in: ids that are ids, and nothing of what it says."""

import json

import pytest

from broker.amqp.consumer import Incoming
from broker.intake.refusing import claimed_ids
from schemas.canonical import encode_base64url


def incoming(body: bytes, delivery_id: str = "amqp-id") -> Incoming:
    return Incoming(
        tag=1,
        queue="q",
        body=body,
        delivery_id=delivery_id,
        user_id="police.one",
        type="referral",
        redelivered=False,
        delivery_count=0,
        routing_key="",
        exchange="",
        headers={},
    )


def envelope(payload: object) -> bytes:
    return json.dumps({"manifest": {"payload": encode_base64url(json.dumps(payload).encode())}}).encode()


def test_ids_are_read_from_the_manifest() -> None:
    body = envelope({"message_id": "m-1", "referral_id": "r-1"})
    assert claimed_ids(incoming(body)) == ("m-1", "r-1")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"manifest":1}',
        b'{"manifest":{"payload":"!"}}',
        envelope([1]),
        envelope({"message_id": 7}),
    ],
)
def test_what_cannot_be_read_has_the_id_that_the_publisher_gave(body: bytes) -> None:
    assert claimed_ids(incoming(body)) == ("amqp-id", None)


def test_text_that_is_no_id_is_not_repeated() -> None:
    body = envelope({"message_id": "Jane Doe, 4 High Street", "referral_id": "x\n"})
    assert claimed_ids(incoming(body, "also no id!")) == ("", None)
