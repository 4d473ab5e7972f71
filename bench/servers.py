"""A PostgreSQL of a measurement's own: started, migrated, and gone afterwards."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broker.store import upgrade_database
from deploy.local.stack import LocalStack
from tests.support.servers import fresh_database

ROOT = Path("var/bench")


@asynccontextmanager
async def open_database(name: str) -> AsyncIterator[str]:
    """Start a PostgreSQL below ``var/bench/name`` and yield its owner's connection string to a migrated database."""
    stack = LocalStack(ROOT / name)
    try:
        stack.postgres.start()
        async for dsn in fresh_database(stack):
            await upgrade_database(dsn)
            yield dsn
    finally:
        stack.destroy()


def write_result(name: str | None, result: dict[str, Any]) -> None:
    """Put one measurement beside the others in ``var/bench/result.json``; the relay's, which has no name, on the outermost level."""
    path = ROOT / "result.json"
    ROOT.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | (result if name is None else {name: result}), indent=2) + "\n")
