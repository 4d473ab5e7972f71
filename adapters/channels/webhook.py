"""Output to a case system by HTTP POST: one request for each delivery, signed, with an idempotency key.

The case system answers with any 2xx once the referral is safely stored on its side. Any other answer, or none, is tried again with the same
bytes and the same ``Idempotency-Key`` (the delivery id; ``<id>.2`` for a later release of more sections), so that a repeat makes no second referral.

``Safelane-Signature: t=<unix seconds>,v1=<hex>`` is HMAC-SHA256 over ``<t>.<body>`` with the shared secret; a receiver should refuse a ``t``
more than five minutes from its own clock.
"""

import hashlib
import hmac
import json
import random
import ssl
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from adapters.gateway.incoming.inbox_config import WebhookConfig
from adapters.gateway.incoming.received import ReceivedReferral
from schemas.errors import ConfigInvalid, DependencyUnavailable, Rejected

SIGNATURE_HEADER = "Safelane-Signature"
_SHORTEST_SECRET = 32
_RETRYABLE = frozenset({408, 425, 429})


class CaseSystemRefused(Rejected):
    """The case system answered that it will not take the delivery: a person must look."""

    code = "case-system-refused"
    status = 502
    retryable = True
    public_message = "The case system refused the referral. Ask its operator, then try again."


class Webhook:
    """A case system's address, secret and connection. Safe to use from one event loop."""

    def __init__(self, config: WebhookConfig, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Read the secret and prepare the connection; ``transport`` replaces the network in tests.

        Raises:
            ConfigInvalid: the secret or CA file cannot be read, or the secret is short.
        """
        self._config = config
        self._secret = read_secret(config.secret_file)
        self._transport = transport
        self._context = _make_context(config.ca_file)
        self._client: httpx.AsyncClient | None = None

    async def post_delivery(self, referral: ReceivedReferral, *, now: datetime) -> None:
        """POST a referral; return when the case system has taken it.

        Raises:
            DependencyUnavailable: no answer in time, or one that asks to try later.
            CaseSystemRefused: it answered with another status.
        """
        body = encode_body(referral)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": referral.release_id,
            SIGNATURE_HEADER: sign_body(body, self._secret, now),
        }
        try:
            async with self._open_client().stream("POST", self._config.url, content=body, headers=headers) as answer:
                status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise DependencyUnavailable("the case system does not answer", field="webhook") from None
        if 200 <= status < 300:
            return
        if status in _RETRYABLE or status >= 500:
            raise DependencyUnavailable(f"the case system answered {status}", field="webhook")
        raise CaseSystemRefused(f"the case system answered {status}", field="webhook")

    async def close(self) -> None:
        """Close the connection; the next POST opens another."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open_client(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self._config.timeout.total_seconds(),
                transport=self._transport,
                verify=self._context,
                follow_redirects=False,  # a redirect would send a child's record to an address that nobody configured
                trust_env=False,
            )
        return self._client


def encode_body(referral: ReceivedReferral) -> bytes:
    """Return the bytes of the POST: the same for every attempt."""
    return json.dumps(referral.to_json(), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def sign_body(body: bytes, secret: bytes, now: datetime) -> str:
    """Return the signature header's value for ``body`` at ``now``."""
    moment = int(now.timestamp())
    digest = hmac.new(secret, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def choose_wait(attempts: int, config: WebhookConfig) -> timedelta:
    """Return how long to wait after ``attempts`` failures: doubling, at most the longest, with full jitter above a half."""
    longest: timedelta = min(config.retry_longest, config.retry_first * int(2 ** min(attempts - 1, 20)))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load; no secret depends on it)


def read_secret(path: Path) -> bytes:
    """Return the secret in ``path`` without surrounding space.

    Raises:
        ConfigInvalid: it cannot be read or is shorter than 32 characters.
    """
    try:
        secret = path.read_bytes().strip()
    except OSError:
        raise ConfigInvalid("the secret cannot be read", field="secret_file") from None
    if len(secret) < _SHORTEST_SECRET:
        raise ConfigInvalid(f"must hold at least {_SHORTEST_SECRET} characters", field="secret_file")
    return secret


def _make_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError):
        raise ConfigInvalid("the CA certificate cannot be read", field="ca_file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
