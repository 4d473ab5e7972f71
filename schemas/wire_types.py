"""String forms that several parts of the contract share."""

from typing import Annotated

from pydantic import StringConstraints

Uuid7 = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
]
"""A UUIDv7 (RFC 9562) in lower case."""

Digest = Annotated[str, StringConstraints(min_length=43, max_length=43, pattern=r"^[A-Za-z0-9_-]+$")]
"""A base64url SHA-256: a digest or a key's thumbprint."""

MediaType = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?:application/(?:json|pdf|xml|fhir\+json|octet-stream)|text/(?:plain|csv)|image/(?:jpeg|png))$"
    ),
]
"""The media type of a section's content; those of attachments are inside."""

DirectoryCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+()#, -]{0,79}$")]
"""A code or id that the authority itself writes and signs, in the directory: public to every agency, and about no child."""
