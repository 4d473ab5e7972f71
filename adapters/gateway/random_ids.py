"""Fresh ids: opaque random ones, and UUIDs of version 7 (RFC 9562) whose first bits are the time, for messages."""

import os
import uuid
from datetime import datetime

from schemas.canonical import encode_base64url


def new_opaque_id() -> str:
    """Return 128 random bits as 22 characters of base64url. None begins with a hyphen: people type ids as arguments of commands."""
    while (made := encode_base64url(os.urandom(16))).startswith("-"):
        continue
    return made


def new_message_id(now: datetime) -> str:
    """Return a UUIDv7: 48 bits of milliseconds, then random (RFC 9562 section 5.7)."""
    milliseconds = int(now.timestamp() * 1000)
    value = (milliseconds << 80) | int.from_bytes(os.urandom(10))
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))
