"""What every request passes: a time limit, security headers, a count by route and status, and a body that is read only up to a limit."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from broker.api.metrics import ApiMetrics
from broker.api.problems import answer_fault, problem_response
from broker.http_answers import GuardedSend, holds_nul, name_route
from schemas.errors import DependencyUnavailable, MalformedMessage, TooLarge

REQUEST_SECONDS = 30.0
BODY_SECONDS = 10.0
KIB = 1024

UNREMARKABLE = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for every few seconds by machines: logged only when something is wrong."""

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

log = structlog.get_logger("safelane.api")


class TookTooLong(DependencyUnavailable):
    """The request was not done within its time limit."""

    code = "took-too-long"
    public_message = "The request took too long. Try again in a minute."


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics, *, seconds: float = REQUEST_SECONDS) -> None:
        """Wrap ``app``; every request is done or refused within ``seconds``."""
        self.app = app
        self.metrics = metrics
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        guarded = GuardedSend(send, SECURITY_HEADERS)
        try:
            async with asyncio.timeout(self.seconds):
                refused = problem_response(MalformedMessage("holds a NUL", field="path")) if holds_nul(scope) else None
                await (refused or self.app)(scope, receive, guarded)
        except TimeoutError:
            if not guarded.status:
                await problem_response(TookTooLong())(scope, receive, guarded)
        except Exception as error:  # noqa: BLE001 - the last line: nothing of an exception may reach the caller or a traceback in a log
            response = answer_fault(error, name_route(scope))
            if not guarded.status:
                await response(scope, receive, guarded)
        seconds, status, route = time.monotonic() - started, guarded.status, name_route(scope)
        self.metrics.count_request(route, status, seconds)
        note = log.debug if route in UNREMARKABLE and status < HTTPStatus.BAD_REQUEST else log.info
        note("request", route=route, status=status, milliseconds=round(seconds * 1000))


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Read a request's body up to ``max_bytes`` within ten seconds.

    Raises:
        TooLarge: it is announced to be, or turns out to be, larger; the rest is not read.
        MalformedMessage: it does not come in time, or is empty.
    """
    announced = request.headers.get("content-length", "0")
    if not announced.isascii() or not announced.isdigit() or int(announced) > max_bytes:
        raise TooLarge(f"more than {max_bytes} bytes", field="body")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise TooLarge(f"more than {max_bytes} bytes", field="body")
    except TimeoutError:
        raise MalformedMessage("did not arrive in time", field="body") from None
    if not body:
        raise MalformedMessage("is empty", field="body")
    return bytes(body)


Call = Callable[[Request], Awaitable[Response]]
