"""What every request passes, whatever it is: host, size, time, and the headers that tell a browser what our pages may do."""

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.http_answers import GuardedSend, holds_nul, name_route

REQUEST_SECONDS: Final = 20.0
MAX_BODY_BYTES: Final = 128 * 1024
MAX_QUERY_BYTES: Final = 4096

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; upgrade-insecure-requests"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), clipboard-read=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=(),"
        " publickey-credentials-get=(self), publickey-credentials-create=(self)"
    ),
    "Referrer-Policy": "same-origin",  # with "no-referrer" a form's Origin would be "null"
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

PROBES: Final = frozenset({"/healthz", "/readyz"})
"""Asked for by machines, under whatever name, every few seconds."""

log = structlog.get_logger("safelane.console")


ShowFault = Callable[[Request, HTTPStatus], Response]
"""Makes the page of a fault that no page of ours could answer; it asks no database."""


class BodyTooLarge(Exception):
    """The body is over the limit. Raised while it is read, wherever that happens."""


class Guard:
    """ASGI middleware around the whole application. ``show_fault`` makes the page for what went wrong, by its status alone."""

    def __init__(
        self, app: ASGIApp, public_url: str, show_fault: ShowFault, *, seconds: float = REQUEST_SECONDS
    ) -> None:
        """Wrap ``app``, which people open under ``public_url`` alone."""
        self.app = app
        self.show_fault = show_fault
        self.host = urlsplit(public_url).netloc.lower()
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        guarded = GuardedSend(send, SECURITY_HEADERS)
        refusal = self._refuse(scope)
        try:
            if refusal is not None:
                await refusal(scope, receive, guarded)
            else:
                async with asyncio.timeout(self.seconds) as limit:
                    scope["safelane.timeout"] = limit
                    await self.app(scope, _limit_body(receive), guarded)
        except TimeoutError:
            await self._answer(HTTPStatus.SERVICE_UNAVAILABLE, scope, receive, guarded)
        except BodyTooLarge:
            await self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, scope, receive, guarded)
        except Exception as error:  # noqa: BLE001 - the last line: nothing of an exception may reach the caller
            log.error("unforeseen", exception=type(error).__name__, route=name_route(scope))  # noqa: TRY400 - a traceback may quote data
            await self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, scope, receive, guarded)
        note = log.debug if scope["path"] in PROBES else log.info
        note(
            "request",
            route=name_route(scope),
            status=guarded.status,
            milliseconds=round((time.monotonic() - started) * 1000),
        )

    def _refuse(self, scope: Scope) -> ASGIApp | None:
        """Return the answer to a request that goes no further, or none."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if scope["path"] not in PROBES and (len(hosts) != 1 or hosts[0].lower() != self.host):
            return PlainTextResponse("This address is not served here.\n", HTTPStatus.MISDIRECTED_REQUEST)
        announced = headers.get("content-length", "0")
        if not (announced.isascii() and announced.isdigit() and int(announced) <= MAX_BODY_BYTES):
            return self.show_fault(Request(scope), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if len(scope["query_string"]) > MAX_QUERY_BYTES:
            return self.show_fault(Request(scope), HTTPStatus.REQUEST_URI_TOO_LONG)
        if holds_nul(scope):
            return self.show_fault(Request(scope), HTTPStatus.BAD_REQUEST)
        return None

    async def _answer(self, status: HTTPStatus, scope: Scope, receive: Receive, send: GuardedSend) -> None:
        if not send.status:
            await self.show_fault(Request(scope), status)(scope, receive, send)


def _limit_body(receive: Receive) -> Receive:
    read = 0

    async def receive_limited() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_BODY_BYTES:
            raise BodyTooLarge
        return message

    return receive_limited
