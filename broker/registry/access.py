"""Who is calling: a short-lived token signed with the caller's API key, each accepted once (after RFC 7523; DESIGN, A referral's way through)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.registry import versions
from broker.registry.registry import Registry
from broker.registry.snapshot import DirectorySnapshot
from broker.store.pool import translate_errors
from schemas.directory import Person
from schemas.errors import NotAuthenticated
from schemas.jose import peek_issuer, verify_jwt

PERSON_PREFIX = "person:"
MIN_JTI, MAX_JTI = 16, 128
LEEWAY = timedelta(seconds=30)

Jwk = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: an agency's system, or a person of an agency (``person`` is then set)."""

    agency: str
    snapshot: DirectorySnapshot
    person: Person | None = None


class AccessTokens:
    """Accepts access tokens. What is wrong with a token is never said: every failure is the same error."""

    def __init__(self, registry: Registry, audience: str, clock: Callable[[], datetime]) -> None:
        """Take the registry, the hub's public URL (the only audience accepted) and the real clock."""
        self.registry = registry
        self.audience = audience
        self.clock = clock

    async def authenticate(self, token: str) -> Caller:
        """Return the caller that ``token`` proves, having used the token up.

        Raises:
            NotAuthenticated: the token, its key or its time is wrong, it was used before, or its agency is revoked.
            DependencyUnavailable: the registry cannot be read; nobody is let in unseen.
        """
        issuer = peek_issuer(token)
        snapshot = await self.registry.current()
        claims = self.verify(token, snapshot.api_keys.get(issuer, ()))
        caller = _find_caller(issuer, snapshot)
        await self.use_up(issuer, claims)
        return caller

    def verify(self, token: str, keys: Sequence[Jwk]) -> dict[str, Any]:
        """Verify ``token`` with one of ``keys`` and return its claims; the ``jti`` is not used up yet.

        Raises:
            NotAuthenticated: none of them fits.
        """
        for jwk in keys:
            try:
                claims = verify_jwt(token, jwk, audience=self.audience, now=self.clock(), leeway=LEEWAY)
            except NotAuthenticated:
                continue
            if MIN_JTI <= len(claims["jti"]) <= MAX_JTI and claims["jti"].isprintable():
                return claims
        raise NotAuthenticated

    async def use_up(self, issuer: str, claims: Mapping[str, Any]) -> None:
        """Record the token's ``jti`` until it cannot be valid any more.

        Raises:
            NotAuthenticated: it was used before.
            DependencyUnavailable: it cannot be recorded.
        """
        until = datetime.fromtimestamp(claims["exp"], UTC) + 2 * LEEWAY
        with translate_errors():
            async with self.registry.pool.acquire(timeout=versions.TIMEOUT_SECONDS) as connection:
                fresh = await connection.fetchval(
                    "INSERT INTO access_token_ids (issuer, jti, expires_at) VALUES ($1, $2, $3)"
                    " ON CONFLICT DO NOTHING RETURNING true",
                    issuer,
                    claims["jti"],
                    until,
                    timeout=versions.TIMEOUT_SECONDS,
                )
        if not fresh:
            raise NotAuthenticated


async def forget_old_tokens(connection: versions.Connection, now: datetime) -> None:
    """Delete ids of tokens that are over by themselves. Bounded work: a few thousand rows a call."""
    with translate_errors():
        await connection.execute(
            "DELETE FROM access_token_ids WHERE ctid IN (SELECT ctid FROM access_token_ids WHERE expires_at < $1 LIMIT 5000)",
            now,
            timeout=versions.TIMEOUT_SECONDS,
        )


def _find_caller(issuer: str, snapshot: DirectorySnapshot) -> Caller:
    if not issuer.startswith(PERSON_PREFIX):
        return Caller(issuer, snapshot)
    person_id = issuer.removeprefix(PERSON_PREFIX)
    person = next((p for p in snapshot.directory.people if p.id == person_id), None)
    if person is None:
        raise NotAuthenticated
    return Caller(person.agency, snapshot, person)
