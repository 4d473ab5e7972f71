"""What unit tests need not pay for again: waiting for the disk, and reading what was read before in the same run.

The product is imported where a fixture needs it, and not here: the process that only hands out tests loads this file too.
"""

import os
import ssl
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def product_synchronous() -> Iterator[str]:
    """Let ``os.fsync`` and SQLite's commits return at once: what must survive a power cut is the business of the tests that kill programs.

    The value is the product's own setting.
    """
    from adapters.gateway import store

    own = store.SYNCHRONOUS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        patch.setattr(store, "SYNCHRONOUS", "OFF")
        yield own


@pytest.fixture
def waiting_for_the_disk(product_synchronous: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit as the product does."""
    from adapters.gateway import store

    monkeypatch.setattr(store, "SYNCHRONOUS", product_synchronous)


@pytest.fixture(scope="session", autouse=True)
def reading_each_text_once() -> Iterator[None]:
    """Remember what is made of a text alone: Cedar's findings on a policy text, and a partnership file's models, which nobody can change."""
    import cedarpy

    from broker.decisions import engine
    from deploy.authority import partnership

    with pytest.MonkeyPatch.context() as patch:
        for name in ("validate_policies", "policies_to_json_str"):
            patch.setattr(cedarpy, name, lru_cache(getattr(cedarpy, name)))
        patch.setattr(partnership, "parse_partnership", lru_cache(partnership.parse_partnership))
        patch.setattr(engine, "CedarAsker", _remember_askers(engine.CedarAsker))
        yield


@pytest.fixture(scope="session", autouse=True)
def without_the_machines_authorities() -> Iterator[None]:
    """Load no list of public authorities into a TLS context: no unit test reaches beyond this machine, and each load takes 20 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda _context: None)
        yield


def _remember_askers(make: Any) -> Any:
    """Return ``CedarAsker`` with one asker for packs that say the same, and its answer to each question kept: Cedar answers by nothing else."""
    made: dict[tuple[str, ...], list[tuple[Any, Any]]] = {}

    def find(pack: Any) -> Any:
        alike = made.setdefault((pack.digest, pack.policy_text, pack.schema_text), [])
        for other, asker in alike:
            if (other.matrix, other.purposes, other.policies) == (pack.matrix, pack.purposes, pack.policies):
                return asker
        asker = make(pack)
        asker.ask = _remember_answers(asker.ask)
        alike.append((pack, asker))
        return asker

    return find


def _remember_answers(ask: Any) -> Any:
    @cache
    def answer(role: str, questions: tuple[tuple[str, str, str], ...], context: str) -> tuple[Any, ...]:
        return tuple(ask(role, questions, context))

    return lambda role, questions, context: list(answer(role, tuple(questions), context))
