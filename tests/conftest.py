"""Fixtures for every test (see tests/support/servers.py), and the order in which two processes share the files."""

import gc
import os

import pytest

SHARED_FIXTURES = ("servers", "console", "browser", "identity_provider")
LONGEST_FIRST = ("e2e", "faults", "browser", "integration", "contract", "vectors", "unit")


def pytest_configure(config: pytest.Config) -> None:
    """Load the shared fixtures where tests run: the process that only hands them out needs none, and they take a second and a half."""
    if config.getoption("numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        return
    gc.disable()  # until all tests are collected
    for name in SHARED_FIXTURES:
        config.pluginmanager.import_plugin(f"tests.support.{name}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Hand out long files first where processes share the work, so that what is left at the end is small and both end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_rank)


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what every test module holds for the whole run."""
    gc.freeze()
    gc.enable()


def _rank(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
