"""What unit tests need not pay for again: waiting for the disk, and reading what was read before in the same run."""

import gc
import os
import ssl
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cedarpy
import pytest

from adapters.gateway import store
from broker.decisions import engine
from broker.decisions.pack import PolicyPack
from broker.decisions.questions import CedarAsker
from deploy.authority import partnership

PRODUCT_SYNCHRONOUS = store.SYNCHRONOUS


@pytest.fixture(scope="session", autouse=True)
def without_waiting_for_the_disk() -> Iterator[None]:
    """Let ``os.fsync`` and SQLite's commits return at once: what must survive a power cut is the business of the tests that kill programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        patch.setattr(store, "SYNCHRONOUS", "OFF")
        yield


@pytest.fixture
def waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit as the product does."""
    monkeypatch.setattr(store, "SYNCHRONOUS", PRODUCT_SYNCHRONOUS)


@pytest.fixture(scope="session", autouse=True)
def reading_each_text_once() -> Iterator[None]:
    """Remember what is made of a text alone: Cedar's findings on a policy text, and a partnership file's models, which nobody can change."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("validate_policies", "policies_to_json_str"):
            patch.setattr(cedarpy, name, lru_cache(getattr(cedarpy, name)))
        patch.setattr(partnership, "parse_partnership", lru_cache(partnership.parse_partnership))
        patch.setattr(engine, "CedarAsker", _remember_askers())
        yield


@pytest.fixture(scope="session", autouse=True)
def without_the_machines_authorities() -> Iterator[None]:
    """Load no list of public authorities into a TLS context: no unit test reaches beyond this machine, and each load takes 20 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda _context: None)
        yield


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what every test module holds for the whole run."""
    gc.collect()
    gc.freeze()


def _remember_askers() -> Any:
    made: dict[int, tuple[PolicyPack, CedarAsker]] = {}

    def find(pack: PolicyPack) -> CedarAsker:
        if id(pack) not in made:
            made[id(pack)] = (pack, CedarAsker(pack))  # the pack is held too, so that its id stays its own
        return made[id(pack)][1]

    return find
