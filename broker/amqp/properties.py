"""Reading message properties that an enemy may have written.

RabbitMQ passes properties on without looking into most of them, and pamqp reads them in the reader of the whole connection. So a single message
whose timestamp lies beyond the year 9999, or whose type is not UTF-8, would end the hub's connection each time that it is handed out, until the
delivery limit moves it to quarantine together with every honest message that was outstanding beside it.
"""

from typing import Any

from pamqp import commands as spec

_read = spec.Basic.Properties.unmarshal


def tolerate_unreadable_properties() -> None:
    """Make pamqp read properties that it cannot decode as none at all, in this process. Calling again changes nothing.

    A message without ``user_id`` is then refused alone, like any other that names no sender.
    """
    if spec.Basic.Properties.unmarshal is not _read_or_clear:
        spec.Basic.Properties.unmarshal = _read_or_clear  # type: ignore[method-assign,assignment]


def _read_or_clear(properties: spec.Basic.Properties, flags: int, data: bytes) -> None:
    try:
        _read(properties, flags, data)
        is_readable = _fits_aio_pika(properties)
    except Exception:  # noqa: BLE001 (pamqp raises ValueError, OverflowError, OSError, struct.error, IndexError … by what was sent)
        is_readable = False
    if not is_readable:
        empty: Any = spec.Basic.Properties()
        for name in spec.Basic.Properties.__slots__:
            setattr(properties, name, getattr(empty, name))


def _fits_aio_pika(properties: spec.Basic.Properties) -> bool:
    """Whether aio-pika can make a message of these; if not, it would log the message and leave it outstanding for ever."""
    expiration = properties.expiration or "0"
    return properties.delivery_mode in (None, 1, 2) and expiration.isdecimal() and len(expiration) <= 10
