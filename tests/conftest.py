"""Fixtures for every test (see tests/support/servers.py), and the order in which two processes share the files."""

import os

import pytest

pytest_plugins = [
    "tests.support.servers",
    "tests.support.console",
    "tests.support.browser",
    "tests.support.identity_provider",
]

LONGEST_FIRST = ("e2e", "faults", "browser", "integration", "contract", "vectors", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand out long files first where processes share the work, so that what is left at the end is small and both end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
