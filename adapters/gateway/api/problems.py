"""Errors of the local API as problem+json (RFC 9457): code, field path and rule, never a value, never a stack trace."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from schemas.errors import Rejected, SafelaneError
from schemas.validation import describe_fault, name_fault

_log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_SECONDS = "5"


def problem_response(error: SafelaneError, *, extra: dict[str, Any] | None = None) -> JSONResponse:
    """Return an error as a problem+json answer with its own status."""
    body: dict[str, Any] = {
        "type": f"urn:safelane:error:{error.code}",
        "title": error.public_message,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "retryable": error.retryable,
    }
    if error.field:
        body["field"] = error.field
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if error.retryable else None
    return JSONResponse(body | (extra or {}), status_code=error.status, media_type=PROBLEM_JSON, headers=headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every failure as problem+json."""
    app.add_exception_handler(SafelaneError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_unexpected)


async def _answer_ours(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, SafelaneError):
        raise error
    return problem_response(error)


async def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError) or not error.errors():
        return problem_response(Rejected("is missing or not of its form"))
    fault = error.errors()[0]
    # A header's name is the route's own, never what the caller wrote.
    header = fault["loc"][1:] if fault["loc"][0] == "header" else ()
    return problem_response(Rejected(describe_fault(fault), field=str(header[0]) if header else name_fault(fault)))


async def _answer_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    phrase = HTTPStatus(error.status_code).phrase
    body = {
        "type": "about:blank",
        "title": f"{phrase}. The paths and methods are in /openapi.json.",
        "status": error.status_code,
        "code": phrase.lower().replace(" ", "-"),
        "retryable": False,
    }
    return JSONResponse(body, status_code=error.status_code, media_type=PROBLEM_JSON, headers=error.headers)


async def _answer_unexpected(_request: Request, error: Exception) -> JSONResponse:
    # The type alone: an exception's text may hold content.
    _log.error("unexpected_error", error=type(error).__name__)
    return problem_response(SafelaneError())
