"""Passwords: what is too weak, and that a name without an account costs as much."""

import pytest

from broker.console.signin.passwords import PasswordHasher, PasswordTooWeak, check_password

CHEAP = PasswordHasher(memory_kib=64)
ABOUT = ("safelane", "ann.hale", "Ann", "Hale")


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "eleven char",
        "aaaaaaaaaaaaaaaa",
        "abababababababab",
        "SafelaneSafelane1",
        "annhaleannhale12",
        "password1234",
        "qwertyuiop12",
        "iloveyou2020!",
        "Passw0rd!Passw0rd!",
        "x" * 129,
    ],
)
def test_weak_passwords_are_refused_without_being_quoted(password: str) -> None:
    with pytest.raises(PasswordTooWeak) as caught:
        check_password(password, about=ABOUT)
    assert password not in str(caught.value)


@pytest.mark.parametrize(
    "password", ["three random words", "pferd batterie heftklammer", "ключ от дома 1907", "vT7#qLm2pX9w"]
)
def test_long_passwords_of_any_characters_are_taken(password: str) -> None:
    check_password(password, about=ABOUT)


async def test_only_the_right_password_of_an_account_is_right() -> None:
    kept = await CHEAP.hash_password("three random words")
    assert kept.startswith("$argon2id$")
    assert await CHEAP.is_right(kept, "three random words")
    assert not await CHEAP.is_right(kept, "three random word")
    assert not await CHEAP.is_right(None, "nobody's password")
    assert not await CHEAP.is_right("not a hash", "three random words")


def test_the_cost_is_what_owasp_asks_for() -> None:
    argon2 = PasswordHasher()._argon2
    assert (argon2.memory_cost, argon2.time_cost, argon2.parallelism) == (47104, 1, 1)
