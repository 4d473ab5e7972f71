"""Publishing frames of AMQP 0-9-1, marshalled by hand: aiormq spends most of a publish in building frame objects (DESIGN, RabbitMQ).

Layout: AMQP 0-9-1 specification, sections 2.3.5 (frames), 4.2.6 (content frames); property order and flags from the basic class.
Messages are always persistent (delivery mode 2) and ``mandatory``.
"""

import struct
from typing import NamedTuple

from schemas.errors import TooLarge

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, b"\xce"
_FRAME = struct.Struct(">BHI")
_HEADER_START = struct.Struct(">HHQH")
_BASIC_CLASS, _PUBLISH_METHOD = 60, 40
_MANDATORY = 1
_FRAME_OVERHEAD = 8

_CONTENT_TYPE, _DELIVERY_MODE, _MESSAGE_ID, _TIMESTAMP, _TYPE, _USER_ID = (1 << bit for bit in (15, 12, 7, 6, 5, 4))
_PERSISTENT = b"\x02"

MEDIA_TYPE = "application/safelane+json"


class Outgoing(NamedTuple):
    """One message to publish.

    Attributes:
        delivery_id: AMQP message id; unique among messages in flight, because a returned message is known by it alone. For an intake message it
            is the message id of the envelope.
        exchange: exchange to publish to.
        routing_key: routing key, at most 255 bytes.
        body: sealed bytes, sent unchanged.
        user_id: RabbitMQ user name of the sender; RabbitMQ closes the channel when it is not the authenticated user.
        type: kind of the object (``referral``, ``receipt``, …) for operators; the hub believes only the signed one.
        sent_at_epoch: AMQP timestamp in whole seconds, for operators.
    """

    delivery_id: str
    exchange: str
    routing_key: str
    body: bytes
    user_id: str
    type: str = "referral"
    sent_at_epoch: int = 0


def marshal_publish(message: Outgoing, *, channel: int, frame_max: int) -> list[bytes]:
    """Return the method, header and body frames of ``message``, in pieces to be joined with those of others; raise ``TooLarge`` for a name over
    255 bytes."""
    method = (
        struct.pack(">HHH", _BASIC_CLASS, _PUBLISH_METHOD, 0)
        + _short_string(message.exchange)
        + _short_string(message.routing_key)
        + bytes((_MANDATORY,))
    )
    header = (
        _HEADER_START.pack(
            _BASIC_CLASS,
            0,
            len(message.body),
            _CONTENT_TYPE | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _TYPE | _USER_ID,
        )
        + _short_string(MEDIA_TYPE)
        + _PERSISTENT
        + _short_string(message.delivery_id)
        + struct.pack(">Q", message.sent_at_epoch)
        + _short_string(message.type)
        + _short_string(message.user_id)
    )
    parts = [
        _FRAME.pack(_METHOD, channel, len(method)),
        method,
        _END,
        _FRAME.pack(_HEADER, channel, len(header)),
        header,
        _END,
    ]
    room = frame_max - _FRAME_OVERHEAD
    for start in range(0, len(message.body), room):
        piece = message.body[start : start + room]
        parts += (_FRAME.pack(_BODY, channel, len(piece)), piece, _END)
    return parts


def _short_string(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > 255:
        raise TooLarge("a name on the wire has at most 255 bytes", field="amqp")
    return bytes((len(encoded),)) + encoded
