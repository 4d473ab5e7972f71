"""Real RabbitMQ and PostgreSQL for tests, one of each a session. When they cannot start, tests fail: they are never skipped."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from broker.amqp.administration import RabbitAdministration
from broker.amqp.settings import AmqpSettings
from deploy.local.install import ensure_rabbitmq
from deploy.local.stack import LocalStack
from tests.support.proxy import CutProxy

_ROOT = Path(__file__).parents[2] / "var" / "test"


@dataclass(frozen=True, slots=True)
class RabbitVhost:
    """A virtual host of one test's own, with the hub's topology declared."""

    stack: LocalStack
    vhost: str
    administration: RabbitAdministration

    def amqp_settings(self, name: str, *, port: int | None = None) -> AmqpSettings:
        """Return the way in as ``name`` (``hub``, or an agency id that was provisioned); ``port`` points to a proxy."""
        return self.stack.amqp_settings(name, vhost=self.vhost, port=port)


def remove_leftovers() -> None:
    """End servers that a killed test session left, and remove their folders."""
    for folder in _ROOT.glob("*-*"):
        owner = folder.name.rpartition("-")[2]
        if not Path(f"/proc/{owner}").exists():
            LocalStack(folder).destroy()


def _new_stack(name: str) -> LocalStack:
    return LocalStack(_ROOT / f"{name}-{os.getpid()}")


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[LocalStack]:
    """The session's stack, not started: ``rabbit`` and ``postgres`` start what they need."""
    remove_leftovers()
    stack = _new_stack("shared")
    yield stack
    stack.destroy()


@pytest.fixture(scope="session")
def rabbit(shared_stack: LocalStack) -> LocalStack:
    """The session's stack with its RabbitMQ node started."""
    ensure_rabbitmq(print)
    shared_stack.rabbitmq.launch()
    shared_stack.rabbitmq.await_ready()
    return shared_stack


@pytest.fixture(scope="session")
def postgres(shared_stack: LocalStack) -> LocalStack:
    """The session's stack with its PostgreSQL started."""
    shared_stack.postgres.start()
    return shared_stack


@pytest_asyncio.fixture
async def rabbit_vhost(rabbit: LocalStack) -> AsyncIterator[RabbitVhost]:
    """A virtual host of this test's own, on the shared node."""
    async with open_vhost(rabbit) as vhost:
        yield vhost


@asynccontextmanager
async def open_vhost(rabbit: LocalStack) -> AsyncIterator[RabbitVhost]:
    """Yield a new virtual host with the hub's topology, and delete it afterwards."""
    vhost = f"test-{uuid.uuid4().hex[:12]}"
    settings = rabbit.administration_settings(vhost=vhost).model_copy(update={"settle_seconds": 0.0})
    administration = RabbitAdministration(settings)
    try:
        await administration.prepare_vhost()
        yield RabbitVhost(stack=rabbit, vhost=vhost, administration=administration)
        await administration.delete_vhost()
    finally:
        await administration.close()


@pytest_asyncio.fixture
async def database(postgres: LocalStack) -> AsyncIterator[str]:
    """Superuser's connection string of an empty database of this test's own."""
    async for dsn in fresh_database(postgres):
        yield dsn


async def fresh_database(stack: LocalStack, *, template: str = "template1") -> AsyncIterator[str]:
    """Yield the connection string of a new database copied from ``template``, and drop it afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await run_sql(stack.postgres.dsn("postgres"), f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield stack.postgres.dsn(name)
    await run_sql(stack.postgres.dsn("postgres"), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def run_sql(dsn: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=60)
    finally:
        await connection.close(timeout=5)


@pytest.fixture
def own_stack() -> Iterator[LocalStack]:
    """A stack of this test's own, started, whose servers it may kill (``.rabbitmq.kill()``, ``.postgres.kill()``, then ``.start()``)."""
    remove_leftovers()
    stack = _new_stack(f"own-{uuid.uuid4().hex[:6]}")
    stack.start()
    yield stack
    stack.destroy()


@pytest.fixture
def own_postgres() -> Iterator[LocalStack]:
    """A stack of this test's own of which PostgreSQL alone is started: roles belong to a whole server."""
    stack = _new_stack(f"own-{uuid.uuid4().hex[:6]}")
    stack.postgres.start()
    yield stack
    stack.destroy()


@pytest_asyncio.fixture
async def cut_proxy(rabbit: LocalStack) -> AsyncIterator[CutProxy]:
    """A TCP proxy in front of the shared RabbitMQ node."""
    proxy = CutProxy(rabbit.rabbitmq.port)
    await proxy.start()
    yield proxy
    await proxy.close()
