"""Fixtures for every test: see tests/support/servers.py."""

pytest_plugins = [
    "tests.support.servers",
    "tests.support.console",
    "tests.support.browser",
    "tests.support.identity_provider",
]
