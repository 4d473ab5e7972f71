"""OpenID Connect as a relying party: code flow with PKCE, state and nonce, exact issuer, keys that rotate, and a second factor that the provider vouches for.

OpenID Connect Core 1.0 and Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (issuer in the answer), RFC 8176 (amr).
"""

import asyncio
import ssl
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_urlsafe
from typing import Any, Final

import httpx
from authlib.integrations.base_client import OAuthError
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from broker.console.settings import OidcSettings
from schemas.errors import ConfigInvalid, DependencyUnavailable, NotAuthenticated

with warnings.catch_warnings():  # authlib would like the successor of httpx, which has yet to come to us
    warnings.simplefilter("ignore", DeprecationWarning)
    from authlib.integrations.httpx_client import AsyncOAuth2Client

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "Ed25519", "EdDSA")
TIMEOUT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 256 * 1024
LEEWAY: Final = timedelta(seconds=60)
_METADATA_SECONDS: Final = 3600.0
_KEYS_AGAIN_SECONDS: Final = 30.0
"""A token with an unknown key makes us fetch the provider's keys again, at most so often."""


class ProviderUnavailable(DependencyUnavailable):
    """The identity provider does not answer, or not as it should."""

    code = "provider-unavailable"
    public_message = "Your organisation's sign-in is not available. Try again in a minute."


class AnswerRefused(NotAuthenticated):
    """The provider's answer does not prove who is there. One public error for every reason."""

    code = "answer-refused"
    public_message = "Your organisation's sign-in did not confirm who you are. Start again."


@dataclass(frozen=True, slots=True)
class Challenge:
    """What is kept, sealed, between leaving for the provider and coming back. ``fresh_after`` asks that the person signs in there again."""

    state: str
    nonce: str
    verifier: str
    fresh_after: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return a form for the visit's cookie."""
        return {
            "state": self.state,
            "nonce": self.nonce,
            "verifier": self.verifier,
            **({"fresh_after": self.fresh_after} if self.fresh_after is not None else {}),
        }


class Provider:
    """The identity provider. Metadata and keys are fetched when first needed and kept for an hour."""

    def __init__(self, settings: OidcSettings, secret: str, redirect_uri: str) -> None:
        """Keep the settings, the client's secret and where the provider sends people back to.

        Raises:
            ConfigInvalid: the certificate authorities cannot be read.
        """
        self.settings = settings
        self._secret = secret
        self._redirect_uri = redirect_uri
        try:
            self._tls = ssl.create_default_context(cafile=settings.ca_file)
        except (OSError, ssl.SSLError):
            raise ConfigInvalid("cannot be read", field="console.oidc.ca_file") from None
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def begin(self, now: datetime, *, fresh: bool) -> tuple[str, Challenge]:
        """Return where to send the person, and what to keep meanwhile; ``fresh`` makes them sign in there again.

        Raises:
            ProviderUnavailable: the provider's metadata cannot be had.
        """
        metadata = await self._read_metadata()
        challenge = Challenge(
            token_urlsafe(24), token_urlsafe(24), token_urlsafe(48), int(now.timestamp()) if fresh else None
        )
        extra: dict[str, Any] = {"nonce": challenge.nonce}
        if self.settings.acr_values:
            extra["acr_values"] = " ".join(self.settings.acr_values)
        if fresh:
            extra |= {"prompt": "login", "max_age": "0"}
        async with self._open_client() as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"], state=challenge.state, code_verifier=challenge.verifier, **extra
            )
        return url, challenge

    async def finish(self, challenge: Challenge, answer: Mapping[str, str], now: datetime) -> str:
        """Return the subject whom the provider vouches for.

        Raises:
            AnswerRefused: the answer, the code or the token is not what it should be.
            ProviderUnavailable: the provider cannot be reached.
        """
        metadata = await self._read_metadata()
        if answer.get("state") != challenge.state or "code" not in answer:
            raise AnswerRefused("the answer is not to our question", field="state")
        named = answer.get("iss")
        if named not in (None, self.settings.issuer) or (
            named is None and metadata.get("authorization_response_iss_parameter_supported") is True
        ):
            raise AnswerRefused("the answer comes from another provider", field="iss")
        token = await self._redeem(metadata["token_endpoint"], answer["code"], challenge.verifier)
        if not isinstance(token.get("id_token"), str):
            raise AnswerRefused("there is no token", field="id_token")
        claims = await self._verify(token["id_token"], token.get("access_token"), challenge, now)
        self._require_second_factor(claims, challenge)
        return str(claims["sub"])

    def _require_second_factor(self, claims: Mapping[str, Any], challenge: Challenge) -> None:
        amr = claims.get("amr")
        by_acr = claims.get("acr") in self.settings.acr_values
        by_amr = isinstance(amr, list) and bool(set(map(str, amr)) & set(self.settings.amr_values))
        if not (by_acr or by_amr):
            raise AnswerRefused("no second factor was used", field="acr")
        if challenge.fresh_after is not None:
            at = claims.get("auth_time")
            if not isinstance(at, int) or at < challenge.fresh_after - LEEWAY.total_seconds():
                raise AnswerRefused("the sign-in is not fresh", field="auth_time")

    async def _redeem(self, endpoint: str, code: str, verifier: str) -> Mapping[str, Any]:
        try:
            async with self._open_client() as client:
                token: Mapping[str, Any] = await client.fetch_token(
                    endpoint, code=code, code_verifier=verifier, grant_type="authorization_code"
                )
        except OAuthError as error:
            raise AnswerRefused("the code was refused", field="code") from error
        except (httpx.HTTPError, ValueError) as error:
            raise ProviderUnavailable(f"token endpoint: {type(error).__name__}", field="oidc") from error
        return token

    async def _verify(
        self, text: str, access_token: str | None, challenge: Challenge, now: datetime
    ) -> Mapping[str, Any]:
        """Return the claims of an ID token whose signature, issuer, audience, times and nonce hold (OpenID Connect Core, 3.1.3.7)."""
        options = {"iss": {"essential": True, "value": self.settings.issuer}, "nonce": {"essential": True}}
        params = {"nonce": challenge.nonce, "client_id": self.settings.client_id, "access_token": access_token}
        try:
            try:
                token = self._decode(text, await self._read_keys())
            except InvalidKeyIdError:
                token = self._decode(text, await self._read_keys(again=True))
            claims = CodeIDToken(token.claims, token.header, options, params)
            claims.validate(now=int(now.timestamp()), leeway=int(LEEWAY.total_seconds()))
        except (JoseError, ValueError) as error:
            raise AnswerRefused(f"the token: {type(error).__name__}", field="id_token") from error
        audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
        if audience != [self.settings.client_id] or not isinstance(claims["sub"], str) or not claims["sub"]:
            raise AnswerRefused("the token is for somebody else", field="aud")
        return dict(claims)

    @staticmethod
    def _decode(text: str, keys: KeySet) -> jwt.Token:
        return jwt.decode(text, keys, registry=JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False))

    async def _read_metadata(self) -> Mapping[str, Any]:
        async with self._lock:
            if self._metadata is None or time.monotonic() - self._metadata[0] > _METADATA_SECONDS:
                address = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
                metadata = await self._fetch(address)
                wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
                if metadata.get("issuer") != self.settings.issuer or not all(
                    str(metadata.get(name)).startswith("https://") for name in wanted
                ):
                    raise ProviderUnavailable("its metadata names another issuer, or no HTTPS addresses", field="oidc")
                self._metadata = (time.monotonic(), metadata)
            return self._metadata[1]

    async def _read_keys(self, *, again: bool = False) -> KeySet:
        metadata = await self._read_metadata()
        async with self._lock:
            age = time.monotonic() - self._keys[0] if self._keys else float("inf")
            if self._keys is None or age > _METADATA_SECONDS or (again and age > _KEYS_AGAIN_SECONDS):
                found = await self._fetch(str(metadata["jwks_uri"]))
                self._keys = (time.monotonic(), KeySet.import_key_set(found))  # type: ignore[arg-type]
            return self._keys[1]

    async def _fetch(self, address: str) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(verify=self._tls, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
                answer = await client.get(address)
                answer.raise_for_status()
                if len(answer.content) > MAX_ANSWER_BYTES:
                    raise ProviderUnavailable("its answer is too long", field="oidc")
                found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ProviderUnavailable(f"metadata: {type(error).__name__}", field="oidc") from error
        if not isinstance(found, dict):
            raise ProviderUnavailable("its answer has another form", field="oidc")
        return found

    def _open_client(self) -> AsyncOAuth2Client:
        return AsyncOAuth2Client(
            client_id=self.settings.client_id,
            client_secret=self._secret,
            redirect_uri=self._redirect_uri,
            scope="openid",
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic",  # noqa: S106 - a method's name
            verify=self._tls,
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
        )
