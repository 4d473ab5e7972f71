"""The authority's way to the hub: fetch requests that wait, hand in what was signed. Everything handed in carries its own signature."""

import ssl
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from secrets import token_urlsafe
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.authority.officers import Officer
from deploy.authority.people import Approver
from deploy.authority.signing import SignedVersion
from schemas.canonical import canonical_bytes
from schemas.errors import ConfigInvalid, DependencyUnavailable, Rejected
from schemas.jose import sign_jwt

TIMEOUT_SECONDS = 30.0
MAX_WORDS = 300
TOKEN_LIFETIME = timedelta(minutes=2)


class HubRefused(Rejected):
    """The hub understood and refused; its own reason code is in the detail."""

    code = "hub-refused"
    public_message = "The hub refused this."


class HubLink:
    """One connection to the hub's API over TLS, trusting the partnership's CA alone."""

    def __init__(
        self,
        hub_url: str,
        ca_pem: str,
        clock: Callable[[], datetime],
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Take the hub's URL (as its tokens name it), the CA's certificate and the real clock.

        Raises:
            ConfigInvalid: the CA certificate cannot be read.
        """
        try:
            context = ssl.create_default_context(cadata=ca_pem)
        except ssl.SSLError:
            raise ConfigInvalid("the CA certificate cannot be read", field="ca_pem") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.hub_url = hub_url.rstrip("/")
        self.clock = clock
        self._client = httpx.Client(
            base_url=self.hub_url, verify=context, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def list_pending(self, officer: Officer) -> list[dict[str, Any]]:
        """Return the enrolment requests that wait: ``enrolment_id``, ``agency``, ``fingerprint``, ``request``, ``created_at``."""
        pending: list[dict[str, Any]] = self._call("GET", "/v1/enrolments", officer=officer)["pending"]
        return pending

    def fetch_directory(self, person: Officer | Approver) -> bytes:
        """Return the hub's answer with the signed directory, which nobody should believe before its signature is verified."""
        return canonical_bytes(self._call("GET", "/v1/directory", officer=person))

    def refuse(self, officer: Officer, enrolment_id: str, reason_code: str) -> None:
        """Refuse a request."""
        body = canonical_bytes({"reason_code": reason_code})
        self._call("POST", f"/v1/enrolments/{enrolment_id}/refusal", officer=officer, body=body)

    def publish(self, signed: SignedVersion) -> None:
        """Hand in a directory version, then the welcomes of those whose keys it holds. Repeating it changes nothing."""
        self._call("POST", "/v1/directory", body=signed.body)
        for enrolment_id, welcome in signed.welcomes.items():
            self._call("POST", f"/v1/enrolments/{enrolment_id}/welcome", body=canonical_bytes(welcome))

    def _call(
        self, method: str, path: str, *, officer: Officer | Approver | None = None, body: bytes | None = None
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        if officer is not None:
            headers |= self._authorize(officer)
        try:
            response = self._client.request(method, path, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise DependencyUnavailable(f"the hub does not answer ({type(error).__name__})", field="hub") from None
        answer = _read(response)
        if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and answer.get("retryable"):
            raise DependencyUnavailable(f"the hub answers {answer.get('code', response.status_code)}", field="hub")
        if response.is_error:
            raise HubRefused(_describe(answer, response.status_code), field=_plain(answer.get("field")) or path)
        return answer

    def _authorize(self, officer: Officer | Approver) -> dict[str, str]:
        """Return the header with a fresh token of a person's own."""
        token = sign_jwt(
            f"person:{officer.id}",
            self.hub_url,
            officer.api_jwk,
            jti=token_urlsafe(18),
            now=self.clock(),
            lifetime=TOKEN_LIFETIME,
        )
        return {"Authorization": f"Bearer {token}"}


def _describe(answer: Mapping[str, Any], status: int) -> str:
    """Return the hub's code and its words for people, which name fields and rules and quote nothing."""
    detail = _plain(answer.get("detail"))
    return f"the hub answers {_plain(answer.get('code')) or status}" + (f": {detail}" if detail else "")


def _plain(words: object) -> str:
    """Return what a terminal can show: another's words may hold anything."""
    return "".join(c for c in words if c.isprintable())[:MAX_WORDS] if isinstance(words, str) else ""


def _read(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) and isinstance(found, dict) else {}
