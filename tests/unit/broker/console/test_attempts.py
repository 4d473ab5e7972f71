"""Pauses after failures: none at first, then doubling up to a ceiling; addresses of one network count as one."""

from datetime import timedelta

from broker.console.attempts import ACCOUNT, ADDRESS, Attempts, TooManyAttempts
from broker.console.sealing import Sealer

ATTEMPTS = Attempts(Sealer(b"s" * 32))


def test_pauses_double_from_the_first_to_the_longest() -> None:
    pauses = [ACCOUNT.pause_after(failures) for failures in (0, 4, 5, 6, 7, 30, 10**6)]
    half = timedelta(seconds=30)
    assert pauses == [timedelta(), timedelta(), half, half * 2, half * 4, ACCOUNT.longest, ACCOUNT.longest]
    assert ADDRESS.free > ACCOUNT.free


def test_keys_say_nothing_and_are_apart() -> None:
    keys = {ATTEMPTS.account_key("ann"), ATTEMPTS.address_key("ann"), ATTEMPTS.denial_key("ann")}
    assert len(keys) == 3
    assert not any("ann" in key for key in keys)


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert ATTEMPTS.address_key("2001:db8::1") == ATTEMPTS.address_key("2001:db8::ffff")
    assert ATTEMPTS.address_key("2001:db8::1") != ATTEMPTS.address_key("2001:db8:0:1::1")
    assert ATTEMPTS.address_key("192.0.2.1") != ATTEMPTS.address_key("192.0.2.2")


def test_the_wait_is_said_in_whole_minutes() -> None:
    assert TooManyAttempts(timedelta(seconds=5)).detail == "Try again in 1 minute."
    assert TooManyAttempts(timedelta(seconds=61)).detail == "Try again in 2 minutes."
