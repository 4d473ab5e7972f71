"""The hub's HTTP API as a gateway uses it: TLS to the pinned partnership CA, a fresh one-use token for each attempt, bounded retries with jitter.

What the hub says is a claim: directories, keys and proofs are verified by whoever uses them.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import structlog

from adapters.gateway.random_ids import new_opaque_id
from schemas.canonical import canonical_bytes, parse_object
from schemas.decision import Decision
from schemas.errors import (
    Conflict,
    DependencyUnavailable,
    IntegrityBroken,
    MalformedMessage,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    Rejected,
    SafelaneError,
    TooLarge,
    Withheld,
)
from schemas.header import RoutingHeader
from schemas.jose import sign_jwt

_log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_LOG_BYTES = 256 * 65_537
TOKEN_LIFETIME = timedelta(minutes=2)
_BY_STATUS: dict[int, type[SafelaneError]] = {
    400: MalformedMessage,
    401: NotAuthenticated,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
}
_LONGEST_EXCHANGE = 60.0
"""Seconds for one request and its whole answer, however slowly it drips."""
_RETRY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class HubAnswer:
    """An answer below 400: status, JSON body (none for 304 or an empty body), and entity tag."""

    status: int
    body: Any
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class PlanAnswer:
    """What the hub says policy would give whom. A claim: ``plan_check`` compares it with the signed matrix."""

    decisions: tuple[Decision, ...]
    directory_version: int
    as_of: str = ""


class HubClient:
    """A client for one agency. Use within one event loop."""

    def __init__(
        self,
        hub_url: str,
        *,
        agency: str,
        ca_pem: str,
        api_key: Callable[[], Mapping[str, Any]],
        clock: Callable[[], datetime],
        timeout: timedelta = timedelta(seconds=10),
        attempts: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Keep the settings; nothing is opened yet. ``clock`` is the real one. ``transport`` replaces the network in tests."""
        self.hub_url = hub_url
        self._agency = agency
        self._api_key = api_key
        self._clock = clock
        self._attempts = attempts
        self._client = httpx.AsyncClient(
            base_url=hub_url,
            verify=_tls_context(ca_pem),
            timeout=httpx.Timeout(timeout.total_seconds()),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    async def plan(self, header: RoutingHeader) -> PlanAnswer:
        """Ask who would get what of a referral with this header, and why.

        Raises:
            Rejected, Withheld: the hub refuses the question.
            DependencyUnavailable: the hub does not answer, or not in a form that this program knows.
        """
        question = {"header": header.model_dump(mode="json", exclude_none=True)}
        answer = await self.request("POST", "/v1/plan", question)
        try:
            decisions = tuple(Decision.model_validate(d) for d in answer.body["decisions"])
            return PlanAnswer(decisions, int(answer.body["directory_version"]), str(answer.body.get("as_of", "")))
        except (KeyError, TypeError, ValueError):
            raise DependencyUnavailable("the hub's plan is not of a known form", field="plan") from None

    async def directory(self, etag: str | None = None) -> HubAnswer:
        """Fetch the signed directory and the announced keys; status 304 if they are still those of ``etag``."""
        return await self.request("GET", "/v1/directory", etag=etag)

    async def upload_key(self, announcement: bytes) -> None:
        """Announce an encryption key (idempotent)."""
        await self.request("POST", "/v1/keys", announcement)

    async def agency(self) -> dict[str, Any]:
        """Return what the hub says of ourselves: delivery queue and where RabbitMQ is."""
        answer = await self.request("GET", "/v1/agency")
        if not isinstance(answer.body, dict):
            raise MalformedMessage("must be an object", field="agency")
        return answer.body

    async def referral(self, referral_id: str) -> dict[str, Any]:
        """Return the hub's own view of a referral that we sent."""
        answer = await self.request("GET", f"/v1/referrals/{referral_id}")
        if not isinstance(answer.body, dict):
            raise MalformedMessage("must be an object", field="referral")
        return answer.body

    async def request(
        self, method: str, path: str, body: Any = None, *, etag: str | None = None, with_token: bool = True
    ) -> HubAnswer:
        """Send one request, with retries where the hub says or the network shows that one may help. ``body``: JSON value, or bytes as they are.

        Raises:
            Rejected, Withheld: the hub's answer says so (its ``code`` and ``field`` are kept, no text of ours is sent back).
            DependencyUnavailable: no usable answer after all attempts.
        """
        content = body if isinstance(body, bytes) else None if body is None else canonical_bytes(body)
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(random.uniform(0.1, 0.4 * 2**attempt))  # noqa: S311 - jitter, not a secret
            headers = {"Accept": "application/json"}
            if content is not None:
                headers["Content-Type"] = "application/json"
            if etag is not None:
                headers["If-None-Match"] = etag
            if with_token:
                headers["Authorization"] = f"Bearer {self._new_token()}"
            try:
                response = await self._exchange(method, path, headers, content, most_bytes=MAX_ANSWER_BYTES)
            except (httpx.HTTPError, ssl.SSLError, OSError) as error:
                _log.warning("hub_unreachable", path=path.split("?", maxsplit=1)[0], error=type(error).__name__)
                continue
            if response.status_code not in _RETRY_STATUSES:
                return _read_answer(response)
            _log.warning("hub_asks_to_retry", path=path.split("?", maxsplit=1)[0], status=response.status_code)
        raise DependencyUnavailable("the hub does not answer", field="hub_url")

    async def fetch(self, path: str) -> bytes | None:
        """Return what the hub serves to anyone (the message log) at ``path``; none where it has no such thing.

        Raises:
            DependencyUnavailable: no usable answer after all attempts, or a larger one than is believed.
        """
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(random.uniform(0.1, 0.4 * 2**attempt))  # noqa: S311 - jitter, not a secret
            try:
                response = await self._exchange("GET", path, {}, None, most_bytes=MAX_LOG_BYTES)
            except (httpx.HTTPError, ssl.SSLError, OSError) as error:
                _log.warning("hub_unreachable", path=path.split("/tile", maxsplit=1)[0], error=type(error).__name__)
                continue
            if response.status_code == httpx.codes.NOT_FOUND:
                return None
            if response.status_code == httpx.codes.OK:
                return response.content
        raise DependencyUnavailable("the hub does not serve its log", field="hub_url")

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None, *, most_bytes: int
    ) -> httpx.Response:
        """Send a request and read its answer up to a size and within a time: a hub that lies may send without end, or packed to swell.

        Raises:
            httpx.HTTPError: no answer, too large a one, one that takes too long, or one that is packed.
        """
        asked = {**headers, "Accept-Encoding": "identity"}
        try:
            async with (
                asyncio.timeout(_LONGEST_EXCHANGE),
                self._client.stream(method, path, content=content, headers=asked) as response,
            ):
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise httpx.DecodingError("is packed")
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > most_bytes:
                        raise httpx.DecodingError("is too large")
                return httpx.Response(response.status_code, headers=response.headers, content=bytes(data))
        except TimeoutError:
            raise httpx.ReadTimeout("takes too long") from None

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()

    def _new_token(self) -> str:
        return sign_jwt(
            self._agency,
            self.hub_url,
            self._api_key(),
            jti=new_opaque_id(),
            now=self._clock(),
            lifetime=TOKEN_LIFETIME,
        )


def _tls_context(ca_pem: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ca_pem)
    return context


def _read_answer(response: httpx.Response) -> HubAnswer:
    etag = response.headers.get("etag")
    if response.status_code == httpx.codes.NOT_MODIFIED:
        return HubAnswer(response.status_code, None, etag)
    data = response.content
    if response.status_code >= httpx.codes.BAD_REQUEST:
        raise _read_problem(response.status_code, data)
    if response.status_code >= httpx.codes.MULTIPLE_CHOICES:
        raise DependencyUnavailable("the hub redirects, which is never followed", field="hub_url")
    body = parse_object(data, max_bytes=MAX_ANSWER_BYTES, field="answer") if data else None
    return HubAnswer(response.status_code, body, etag)


def _read_problem(status: int, data: bytes) -> SafelaneError:
    """Turn problem+json (RFC 9457) into our own error: class by status, detail and field as the hub gave them (never values)."""
    try:
        problem = parse_object(data, max_bytes=64 * 1024, field="problem")
    except SafelaneError:
        problem = {}
    detail = str(problem.get("detail") or problem.get("title") or "the hub refused the request")[:300]
    field = problem.get("field")
    kind = _BY_STATUS.get(status, Rejected)
    if problem.get("code") == IntegrityBroken.code:
        kind = IntegrityBroken
    elif problem.get("code") == Withheld.code:
        kind = Withheld
    return kind(detail, field=str(field) if field else None)
