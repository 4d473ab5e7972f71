"""JSON in and out of the endpoints: strict in, canonical out, with the examples that OpenAPI shows."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from broker.api.guard import read_body
from broker.api.problems import MEDIA_TYPE
from schemas.canonical import canonical_bytes, parse_object
from schemas.errors import MalformedMessage


def answer_json(value: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``value`` as canonical JSON."""
    return Response(
        canonical_bytes(dict(value)), status_code=status, media_type="application/json", headers=dict(headers or {})
    )


async def read_json(request: Request, *, max_bytes: int, members: frozenset[str] | None = None) -> dict[str, Any]:
    """Read a strict JSON object of at most ``max_bytes``; ``members``, if given, are exactly the keys it must have.

    Raises:
        TooLarge, MalformedMessage: it is not that.
    """
    found = parse_object(await read_body(request, max_bytes=max_bytes), max_bytes=max_bytes)
    if members is not None and found.keys() != members:
        raise MalformedMessage(f"must have exactly the members {', '.join(sorted(members))}", field="body")
    return found


def describe(
    *, body: Any = None, answer: Any = None, status: int = 200, media_type: str = "application/json"
) -> dict[str, Any]:
    """Return the OpenAPI details of an endpoint: example request, example answer, and the problem document."""
    details: dict[str, Any] = {
        "responses": {
            str(status): {"description": "Done", "content": {media_type: {"example": answer}}},
            "default": {"description": "Problem (RFC 9457)", "content": {MEDIA_TYPE: {"example": PROBLEM_EXAMPLE}}},
        }
    }
    if body is not None:
        details["requestBody"] = {"required": True, "content": {"application/json": {"example": body}}}
    return details


PROBLEM_EXAMPLE = {
    "type": "urn:safelane:error:not-found",
    "title": "There is no such record.",
    "status": 404,
    "code": "not-found",
    "detail": "There is no such record.",
    "retryable": False,
}
