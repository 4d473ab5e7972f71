"""What the console refuses of an identity provider: wrong issuer, audience, nonce, time, algorithm or key, no second factor, a stale sign-in."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from broker.console.settings import OidcSettings
from broker.console.signin import oidc
from broker.console.signin.oidc import AnswerRefused, Challenge, Provider, ProviderUnavailable

ISSUER = "https://provider.example"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
CHALLENGE = Challenge("state", "nonce", "verifier")
KEY = ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256"})


class ScriptedProvider(Provider):
    """A provider whose answers the test writes; what is verified is verified as always."""

    def __init__(self, key: ECKey = KEY, **metadata: Any) -> None:
        settings = OidcSettings(
            issuer=ISSUER, client_id="safelane", client_secret_file=Path("unused"), acr_values=("gold",)
        )
        super().__init__(settings, "secret", "https://console.example/sign-in/organisation/answer")
        self.key = key
        self.published = [key]
        self.fetched = 0
        self.token: dict[str, Any] = {}
        self.metadata = {
            "issuer": ISSUER,
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "jwks_uri": f"{ISSUER}/keys",
        } | metadata

    async def _fetch(self, address: str) -> dict[str, Any]:
        if address.endswith("/keys"):
            self.fetched += 1
            return {"keys": [key.as_dict(private=False) for key in self.published]}
        return self.metadata

    async def _redeem(self, endpoint: str, code: str, verifier: str) -> Mapping[str, Any]:
        assert (endpoint, code, verifier) == (f"{ISSUER}/token", "code", "verifier")
        return self.token

    def issue(self, header: dict[str, Any] | None = None, key: Any = None, **changes: Any) -> None:
        """Put an ID token into the next answer of the token endpoint; a claim that is none is left out."""
        at = int(NOW.timestamp())
        claims = {
            "iss": ISSUER,
            "sub": "subject-1",
            "aud": "safelane",
            "exp": at + 300,
            "iat": at,
            "nonce": "nonce",
            "acr": "gold",
            "auth_time": at,
        } | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        signed = jwt.encode(
            header or {"alg": "ES256", "kid": "one"}, kept, key or self.key, algorithms=["ES256", "HS256"]
        )
        self.token = {"id_token": signed, "token_type": "Bearer"}

    async def sign_in(self, challenge: Challenge = CHALLENGE, **answer: str) -> str:
        return await self.finish(challenge, {"state": "state", "code": "code"} | answer, NOW)


async def test_a_good_answer_names_its_subject() -> None:
    provider = ScriptedProvider()
    provider.issue()
    assert await provider.sign_in() == "subject-1"
    assert await provider.sign_in(iss=ISSUER) == "subject-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://provider.example/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["safelane", "another"], "azp": "safelane"},
        {"nonce": "other"},
        {"nonce": None},
        {"exp": int((NOW - timedelta(minutes=5)).timestamp())},
        {"iat": int((NOW + timedelta(minutes=5)).timestamp())},
        {"sub": None},
        {"sub": ""},
        {"acr": "bronze"},
        {"acr": None, "amr": ["pwd"]},
        {"acr": None, "amr": "mfa"},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    provider = ScriptedProvider()
    provider.issue(**changes)
    with pytest.raises(AnswerRefused):
        await provider.sign_in()


async def test_methods_may_vouch_for_the_second_factor() -> None:
    provider = ScriptedProvider()
    provider.issue(acr=None, amr=["pwd", "mfa"])
    assert await provider.sign_in() == "subject-1"


async def test_a_token_by_another_key_or_algorithm_is_refused() -> None:
    provider = ScriptedProvider()
    stranger = ECKey.generate_key("P-256", {"kid": "one"})
    secret = OctKey.import_key(b"secret" * 8)
    for header, key in (({"alg": "ES256", "kid": "one"}, stranger), ({"alg": "HS256", "kid": "one"}, secret)):
        provider.issue(header, key)
        with pytest.raises(AnswerRefused):
            await provider.sign_in()
    provider.issue()
    head, body, _ = provider.token["id_token"].split(".")
    provider.token = {"id_token": f"eyJhbGciOiJub25lIn0.{body}."}
    with pytest.raises(AnswerRefused):
        await provider.sign_in()
    assert head


async def test_rotated_keys_are_fetched_again_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = ScriptedProvider()
    provider.issue()
    await provider.sign_in()
    new = ECKey.generate_key("P-256", {"kid": "two", "alg": "ES256"})
    provider.published = [new]
    provider.issue({"alg": "ES256", "kid": "two"}, new)
    with pytest.raises(AnswerRefused):
        await provider.sign_in()  # fetched a moment ago
    assert provider.fetched == 1
    monkeypatch.setattr(oidc, "_KEYS_AGAIN_SECONDS", 0.0)
    assert await provider.sign_in() == "subject-1"
    assert provider.fetched == 2


async def test_an_answer_to_another_question_or_by_another_provider_is_refused() -> None:
    provider = ScriptedProvider(authorization_response_iss_parameter_supported=True)
    provider.issue()
    with pytest.raises(AnswerRefused, match="another provider"):
        await provider.sign_in()
    with pytest.raises(AnswerRefused, match="another provider"):
        await provider.sign_in(iss="https://evil.example")
    with pytest.raises(AnswerRefused, match="not to our question"):
        await provider.sign_in(state="other", iss=ISSUER)
    with pytest.raises(AnswerRefused, match="not to our question"):
        await provider.finish(CHALLENGE, {"state": "state", "error": "access_denied", "iss": ISSUER}, NOW)


async def test_a_confirmation_needs_a_fresh_sign_in() -> None:
    provider = ScriptedProvider()
    fresh = replace(CHALLENGE, fresh_after=int(NOW.timestamp()))
    provider.issue()
    assert await provider.sign_in(fresh) == "subject-1"
    for auth_time in (int((NOW - timedelta(minutes=10)).timestamp()), None, True):
        provider.issue(auth_time=auth_time)
        with pytest.raises(AnswerRefused):
            await provider.sign_in(fresh)


async def test_people_leave_with_a_challenge_for_this_client_alone() -> None:
    url, challenge = await ScriptedProvider().begin(NOW, fresh=True)
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert query["code_challenge"] != [challenge.verifier]
    assert query["state"] == [challenge.state]
    assert query["nonce"] == [challenge.nonce]
    assert (query["prompt"], query["max_age"], query["acr_values"]) == (["login"], ["0"], ["gold"])
    assert challenge.fresh_after == int(NOW.timestamp())


@pytest.mark.parametrize(
    "metadata", [{"issuer": "https://provider.example/"}, {"token_endpoint": "http://provider.example/token"}]
)
async def test_metadata_of_another_issuer_or_without_tls_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(ProviderUnavailable):
        await ScriptedProvider(**metadata).begin(NOW, fresh=False)
