"""Passwords of local accounts: Argon2id, checked off the event loop, a few at a time, with the same work for a name that no account has."""

import asyncio
from typing import Final

from argon2 import PasswordHasher as Argon2
from argon2.exceptions import InvalidHashError, VerificationError

from schemas.errors import MalformedMessage

SHORTEST: Final = 12
LONGEST: Final = 128
_LOOKED_AT: Final = 72
"""Characters that are searched for common words: the search grows faster than their number."""
_GOOD_SCORE: Final = 3
_AT_ONCE: Final = 2
"""Hashes computed at once: each takes 46 MiB and a core."""


class PasswordTooWeak(MalformedMessage):
    """The password is too short, too long or too easily guessed."""

    code = "password-too-weak"
    public_message = "Choose another password."


class PasswordHasher:
    """Hashes and verifies. Parameters are OWASP's first choice for Argon2id: 46 MiB, one pass, one lane."""

    def __init__(self, *, memory_kib: int = 47104, passes: int = 1) -> None:
        """Set the cost; tests take a cheap one."""
        self._argon2 = Argon2(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._decoy = self._argon2.hash("nobody's password")
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def hash_password(self, password: str) -> str:
        """Return the hash to keep."""
        async with self._turns:
            return await asyncio.to_thread(self._argon2.hash, password)

    async def is_right(self, kept: str | None, password: str) -> bool:
        """Tell whether ``password`` is that of ``kept``; with none kept it takes as long and is never right."""
        async with self._turns:
            right = await asyncio.to_thread(self._verify, kept or self._decoy, password)
        return right and kept is not None

    def _verify(self, kept: str, password: str) -> bool:
        try:
            return self._argon2.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False


def check_password(password: str, *, about: tuple[str, ...]) -> None:
    """Return if a new password is good enough; ``about`` are words of the person and the service, which it must not be made of.

    Raises:
        PasswordTooWeak: it is too short or too long, repeats one character, is made of those words, or is among those that people choose.
    """
    if len(password) < SHORTEST:
        raise PasswordTooWeak(f"it must have at least {SHORTEST} characters", field="password")
    if len(password) > LONGEST:
        raise PasswordTooWeak(f"it must have at most {LONGEST} characters", field="password")
    rest = password.casefold()
    for word in sorted((w.casefold() for w in about if len(w) > 2), key=len, reverse=True):
        rest = rest.replace(word, "")
    if len(set(rest)) < 5 or _is_guessed(password, about):
        raise PasswordTooWeak("it is too easily guessed: three random words are good", field="password")


def _is_guessed(password: str, about: tuple[str, ...]) -> bool:
    """Tell whether a guesser who knows common passwords, words and patterns has it within a hundred million tries (zxcvbn, Wheeler 2016)."""
    from zxcvbn import zxcvbn

    found = zxcvbn(password[:_LOOKED_AT], user_inputs=[word for word in about if word], max_length=_LOOKED_AT)
    return bool(found["score"] < _GOOD_SCORE)
