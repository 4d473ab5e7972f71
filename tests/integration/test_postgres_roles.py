"""The owner that ``deploy/postgres/roles.sql`` makes, no superuser, can bring up the schema; the programs' roles then enter and cannot alter the log."""

import re
from pathlib import Path

import asyncpg
import pytest

from broker.store.migrate import upgrade_database
from deploy.local.stack import LocalStack

ROLES = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sql"
PASSWORD = "long-enough-for-a-test"


async def test_owner_without_privileges_migrates_and_programs_cannot_alter_the_log(own_postgres: LocalStack) -> None:
    superuser = await asyncpg.connect(own_postgres.postgres.dsn("postgres"))
    await superuser.execute("DROP DATABASE IF EXISTS safelane")  # the stack's own, still empty
    script = re.sub(r"--.*", "", ROLES.read_text())
    for statement in filter(str.strip, script.split(";")):
        await superuser.execute(statement)
    await superuser.execute(f"ALTER ROLE safelane_owner PASSWORD '{PASSWORD}'")

    def login(role: str) -> str:
        return f"postgresql://safelane_{role}:{PASSWORD}@127.0.0.1:{own_postgres.postgres.port}/safelane"

    await upgrade_database(login("owner"))
    for role in ("worker", "api", "console", "reader", "eraser"):
        await superuser.execute(f"ALTER ROLE safelane_{role} PASSWORD '{PASSWORD}'")
        connection = await asyncpg.connect(login(role))
        try:
            for attempt in ("UPDATE log_entries SET entry = ''", "DELETE FROM log_entries", "TRUNCATE log_entries"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(attempt)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("CREATE TABLE mine ()")
        finally:
            await connection.close()
    await superuser.close()
