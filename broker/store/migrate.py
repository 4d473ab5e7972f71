"""Bringing a database to the newest schema: Alembic writes the SQL, asyncpg runs it, in one transaction under a lock.

Alembic's own way of connecting would need a second PostgreSQL driver only for this.
"""

import io
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config

from broker.store.pool import CONNECT_TIMEOUT_SECONDS, translate_errors

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x5AFE_0001
"""Advisory lock: two processes that start together migrate once."""
_TIMEOUT_SECONDS = 3600.0
"""Of one migration, or of waiting for another process's: some rewrite tables, which takes minutes at ten million events."""


async def upgrade_database(dsn: str) -> str:
    """Bring the database at ``dsn`` (the owner's) to the newest revision and return that revision. Running it again changes nothing.

    Raises:
        StoreUnavailable: the server cannot be reached.
    """
    with translate_errors():
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_SECONDS, command_timeout=_TIMEOUT_SECONDS)
        try:
            await connection.fetchval("SELECT pg_advisory_lock($1)", _LOCK)
            current = await _read_revision(connection)
            script = write_upgrade_script(current)
            if script:
                await connection.execute(script)
            return await _read_revision(connection) or ""
        finally:
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)


def write_upgrade_script(current: str | None) -> str:
    """Return the SQL (with its BEGIN and COMMIT) from revision ``current``, none for an empty database, to the newest; empty if it is there."""
    from alembic.script import ScriptDirectory

    buffer = io.StringIO()
    config = Config(output_buffer=buffer)
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    if ScriptDirectory.from_config(config).get_current_head() == current:
        return ""
    command.upgrade(config, f"{current or 'base'}:head", sql=True)
    return buffer.getvalue()


async def _read_revision(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return revision
