"""Hand-marshalled publishing frames are byte for byte what pamqp makes."""

from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from broker.amqp.frames import MEDIA_TYPE, Outgoing, marshal_publish
from schemas.errors import TooLarge

names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=100)
ids = st.text(min_size=1, max_size=60)


@given(
    exchange=names,
    routing_key=names,
    delivery_id=ids,
    body=st.binary(max_size=5000),
    epoch=st.integers(0, 2**31),
    channel=st.integers(1, 65535),
)
def test_frames_equal_those_of_the_library(
    *, exchange: str, routing_key: str, delivery_id: str, body: bytes, epoch: int, channel: int
) -> None:
    message = Outgoing(delivery_id, exchange, routing_key, body, "csc.test", "receipt", epoch)
    frame_max = 1024
    properties = spec.Basic.Properties(
        content_type=MEDIA_TYPE,
        delivery_mode=2,
        message_id=delivery_id,
        timestamp=datetime.fromtimestamp(epoch, UTC),
        message_type="receipt",
        user_id="csc.test",
    )
    expected = (
        pamqp.frame.marshal(spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), channel)
        + pamqp.frame.marshal(ContentHeader(body_size=len(body), properties=properties), channel)
        + b"".join(
            pamqp.frame.marshal(ContentBody(body[n : n + frame_max - 8]), channel)
            for n in range(0, len(body), frame_max - 8)
        )
    )
    assert b"".join(marshal_publish(message, channel=channel, frame_max=frame_max)) == expected


@pytest.mark.parametrize("field", ["exchange", "routing_key", "delivery_id", "type", "user_id"])
def test_name_over_255_bytes_is_refused(field: str) -> None:
    values = {"delivery_id": "d", "exchange": "e", "routing_key": "r", "body": b"", "user_id": "u", "type": "t"} | {
        field: "é" * 128
    }
    with pytest.raises(TooLarge):
        marshal_publish(Outgoing(**values), channel=1, frame_max=4096)  # type: ignore[arg-type]
