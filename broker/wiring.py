"""Builds the worker: the one place that knows which objects there are. The API has a wiring of its own (``broker.api.wiring``)."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import structlog

from broker.amqp.consumer import BatchConsumer
from broker.amqp.publisher import BatchPublisher
from broker.amqp.topology import INTAKE_QUEUES, QUARANTINE_QUEUE, declare_topology
from broker.config import HubConfig, read_log_key, read_text
from broker.decisions import NO_REGISTERS, DecisionEngine, Registers
from broker.delivery.dispatch import Dispatcher, DispatchTimes
from broker.delivery.ports import Observe, observe_nothing
from broker.delivery.queues import QueueNames
from broker.delivery.relay import Relay
from broker.intake.batch import Intake
from broker.intake.draining import Drainer
from broker.intake.ports import IntakeParts, Times
from broker.intake.redeciding import Redecider
from broker.intake.replaying import Replayer
from broker.intake.sweeping import Sweeper
from broker.intake.worker import IntakeLoop
from broker.log import LogWriter
from broker.registry import DirectorySnapshot, Registry
from broker.registry.packs import InstalledPack, PackShelf
from broker.store.pool import open_pool, translate_errors
from schemas.errors import DependencyUnavailable
from schemas.keys import VerifyingKeys
from schemas.trust import parse_trust_file

_log = structlog.get_logger(__name__)

Clock = Callable[[], datetime]


def read_real_clock() -> datetime:
    """Return now, UTC."""
    return datetime.now(UTC)


class Deciders:
    """Gives the decision engine of a directory version, of the pack that it names."""

    def __init__(self, shelf: PackShelf) -> None:
        """Keep the shelf of packs."""
        self._shelf = shelf

    def __call__(self, snapshot: DirectorySnapshot, /) -> tuple[DecisionEngine, Registers]:
        """Return the engine of this snapshot's directory, and the registers.

        Raises:
            PolicyNotHeld: the pack that the directory names is not here: what waits is decided when it is.
        """
        return self._shelf.engine_for(snapshot), NO_REGISTERS


@dataclass(frozen=True, slots=True)
class Links:
    """A worker's connections to RabbitMQ: publishing and consuming apart, and one for what RabbitMQ gave up on."""

    publisher: BatchPublisher
    consumer: BatchConsumer
    dead_letters: BatchConsumer

    async def close(self) -> None:
        """Close all of them."""
        await self.consumer.close()
        await self.dead_letters.close()
        await self.publisher.close()


def open_links(config: HubConfig) -> Links:
    """Return the connections, which open when they are first used."""
    return Links(
        BatchPublisher(config.amqp.model_copy(update={"name": "safelane-hub-publish"})),
        BatchConsumer(
            config.amqp.model_copy(update={"name": "safelane-hub-consume"}),
            tuple(INTAKE_QUEUES.values()),
            prefetch=config.worker.prefetch,
        ),
        BatchConsumer(
            config.amqp.model_copy(update={"name": "safelane-hub-quarantine"}), (QUARANTINE_QUEUE,), prefetch=16
        ),
    )


class Worker:
    """A hub worker: intake, relay and replays over one pool and two connections to RabbitMQ."""

    def __init__(self, config: HubConfig, business_clock: Clock, observe: Observe) -> None:
        """Keep the configuration, the business clock and the step hook; ``open`` connects."""
        self._config = config
        self._business = business_clock
        self._observe = observe
        self._stop = asyncio.Event()
        self._pool: asyncpg.Pool | None = None
        self.loop: IntakeLoop | None = None

    async def run(self) -> None:
        """Work until ``stop``. What is away is waited for.

        Raises:
            ConfigInvalid: the configuration is wrong.
            IntegrityBroken: something must not be released on; the process must end and be looked at.
        """
        config = self._config
        log = LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)
        shelf = PackShelf(InstalledPack.load(config.policy_pack, config.local_policy_pack))
        authority = read_authority_keys(config.trust_file)
        pool = self._pool = await self._open_pool(config.postgres.read_dsn("worker"))
        if pool is None:
            return
        links = open_links(config)
        try:
            await self._declare_topology()
            await self._lodge(pool, shelf)
            _log.info("worker.started", installed_policy_digest=shelf.installed.pack.digest)
            async with asyncio.TaskGroup() as tasks:
                for step in self._list_steps(pool, links, Registry(pool, authority, read_real_clock), log, shelf):
                    tasks.create_task(step)
        finally:
            await links.close()
            await asyncio.wait_for(pool.close(), timeout=10)

    def _list_steps(
        self, pool: asyncpg.Pool, links: Links, snapshots: Registry, log: LogWriter, shelf: PackShelf
    ) -> list[Coroutine[Any, Any, None]]:
        """Return what the worker does side by side until it stops: intake, relay, quarantine, replays, decisions made again, sweeps."""
        settings, queues, stop = self._config.worker, QueueNames(), self._stop
        clocks = Times(read_real_clock, self._business)
        parts = IntakeParts(pool, log, snapshots, Deciders(shelf), clocks, self._observe)
        intake = Intake(parts, queues=queues, lease=settings.lease)
        times = DispatchTimes(lease=settings.lease, offer_first=settings.offer_again_after)
        dispatcher = Dispatcher(
            pool=pool,
            publisher=links.publisher,
            queues=queues,
            clock=read_real_clock,
            times=times,
            observe=self._observe,
        )
        relay = Relay(
            pool=pool,
            dispatcher=dispatcher,
            queues=queues,
            log=log,
            clock=read_real_clock,
            business_clock=self._business,
            times=times,
            give_up_after=settings.give_up_after,
        )
        self.loop = IntakeLoop(
            consumer=links.consumer,
            intake=intake,
            dispatcher=dispatcher,
            observe=self._observe,
            batch_messages=settings.batch_messages,
            batch_linger_seconds=settings.batch_linger_ms / 1000,
            most_under_way=settings.batches_under_way,
        )
        every = settings.relay_every_seconds
        return [
            self.loop.run(stop),
            relay.run(stop, every_seconds=every),
            Drainer(links.dead_letters, intake, dispatcher).run(stop),
            Replayer(pool, intake, dispatcher).run(stop, every_seconds=every),
            Redecider(parts).run(stop, every_seconds=every),
            Sweeper(parts).run(stop, every_seconds=every),
        ]

    def stop(self) -> None:
        """Ask the worker to finish what is under way and end."""
        self._stop.set()

    async def _open_pool(self, dsn: str) -> asyncpg.Pool | None:
        while not self._stop.is_set():
            try:
                return await open_pool(dsn, name="safelane-worker", most=self._config.worker.pool_size)
            except DependencyUnavailable as error:
                _log.warning("worker.waiting", code=error.code)
                await asyncio.sleep(1)
        return None

    async def _lodge(self, pool: asyncpg.Pool, shelf: PackShelf) -> None:
        """Store the installed pack, once PostgreSQL answers."""
        while not self._stop.is_set():
            try:
                with translate_errors():
                    async with pool.acquire(timeout=10) as connection:
                        await shelf.lodge_installed(connection, read_real_clock())
            except DependencyUnavailable as error:
                _log.warning("worker.waiting", code=error.code)
                await asyncio.sleep(1)
            else:
                return

    async def _declare_topology(self) -> None:
        while not self._stop.is_set():
            try:
                await declare_topology(self._config.amqp)
            except DependencyUnavailable as error:
                _log.warning("worker.waiting", code=error.code)
                await asyncio.sleep(1)
            else:
                return


def build_worker(config: HubConfig, clock: Clock | None = None, *, observe: Observe = observe_nothing) -> Worker:
    """Return a worker; ``clock`` is the business clock (none: the real one). ``await worker.run()`` runs it until ``worker.stop()``."""
    return Worker(config, clock or read_real_clock, observe)


def read_authority_keys(path: Path) -> tuple[VerifyingKeys, ...]:
    """Read the pinned authority keys of a trust file.

    Raises:
        ConfigInvalid: it cannot be read.
    """
    return parse_trust_file(read_text(path, "trust_file").encode()).authority_keys()
