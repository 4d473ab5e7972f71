"""String forms that several parts of the contract share."""

from typing import Annotated

from pydantic import StringConstraints

Uuid7 = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
"""A UUIDv7 (RFC 9562) in lower case."""

Digest = Annotated[str, StringConstraints(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]+$")]
"""A base64url SHA-256: a digest or a key's thumbprint."""

MediaType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+-]+/[a-z0-9.+-]+$", max_length=100)]
"""A media type without parameters."""
