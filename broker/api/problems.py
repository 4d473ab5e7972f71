"""Every failure as ``application/problem+json`` (RFC 9457): our errors as they say, anything else as a plain 500 that says nothing."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from schemas.canonical import canonical_bytes
from schemas.errors import IntegrityBroken, MalformedMessage, NotFound, SafelaneError
from schemas.validation import name_fault

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 15

log = structlog.get_logger("safelane.api")


class NotAllowedHere(SafelaneError):
    """The path exists, the method does not."""

    code = "method-not-allowed"
    status = 405
    public_message = "This path does not take this method."


class InternalFault(SafelaneError):
    """A fault of ours. What it was is in the operator's log, by class name alone."""

    code = "internal-fault"
    status = 500
    public_message = "Something went wrong here. It is recorded; try again, and tell the hub's operator if it stays."


def problem_response(error: SafelaneError) -> Response:
    """Return the response for an error."""
    members = {
        "type": f"urn:safelane:error:{error.code}",
        "title": error.public_message,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "retryable": error.retryable,
    }
    if error.field:
        members["field"] = error.field
    headers: dict[str, str] = {}
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="safelane"'
    if error.retryable:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return Response(canonical_bytes(members), status_code=error.status, media_type=MEDIA_TYPE, headers=headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every failure with a problem document."""

    @app.exception_handler(SafelaneError)
    async def answer_ours(_: Request, error: SafelaneError) -> Response:
        if isinstance(error, IntegrityBroken):
            log.error("integrity_broken", code=error.code, field=error.field)
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def answer_validation(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return problem_response(MalformedMessage(str(first["type"]), field=name_fault(first)))

    @app.exception_handler(HTTPException)
    async def answer_http(_: Request, error: HTTPException) -> Response:
        if error.status_code == HTTPStatus.NOT_FOUND:
            return problem_response(NotFound())
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            return problem_response(NotAllowedHere())
        return problem_response(MalformedMessage("the request is not in the expected form"))


def answer_fault(error: Exception, route: str) -> Response:
    """Log an unforeseen exception by its class alone and return a 500."""
    log.error("unforeseen", exception=type(error).__name__, route=route)
    return problem_response(InternalFault())


Handler = Callable[[Request], Awaitable[Response]]
