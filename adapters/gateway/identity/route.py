"""Where RabbitMQ and this agency's delivery queue are: said by the hub at enrolment, kept in the data folder."""

from pathlib import Path
from typing import Any

from adapters.gateway.durable_files import write_durably
from schemas.canonical import canonical_bytes, parse_object
from schemas.errors import ConfigInvalid, SafelaneError

MAX_ROUTE_BYTES = 64 * 1024


def write_route(path: Path, *, queue: str, amqp: dict[str, Any]) -> None:
    """Keep the queue's name, and host, port and virtual host of RabbitMQ."""
    write_durably(path, canonical_bytes({"queue": queue, "amqp": amqp}) + b"\n")


def read_route(path: Path) -> dict[str, Any] | None:
    """Return what was kept, or none.

    Raises:
        ConfigInvalid: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return parse_object(path.read_bytes(), max_bytes=MAX_ROUTE_BYTES, field="route.json")
    except (OSError, SafelaneError):
        raise ConfigInvalid(
            "cannot be read: enrol again, or remove it and give amqp in the configuration", field="route.json"
        ) from None
