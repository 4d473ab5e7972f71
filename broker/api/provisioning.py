"""Gives enrolled agencies their way into RabbitMQ and closes it for revoked ones. What is written down first is repeated until it is done."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime

import asyncpg
import structlog

from broker.amqp.topology import new_delivery_queue_name
from broker.registry import agency_queues
from broker.registry.agency_queues import ProvisionAgencies, RemoveAgency
from broker.registry.snapshot import DirectorySnapshot
from broker.store.pool import translate_errors
from schemas.errors import SafelaneError
from schemas.signed_directory import is_active

log = structlog.get_logger("safelane.provisioning")


class Provisioner:
    """Keeps RabbitMQ's users and queues in step with the directory."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        provision: ProvisionAgencies | None,
        remove: RemoveAgency | None,
        clock: Callable[[], datetime],
    ) -> None:
        """Take the two acts on RabbitMQ; without them an operator acts by hand and this only keeps the names."""
        self.pool = pool
        self.provision = provision
        self.remove = remove
        self.clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def reconcile(self, snapshot: DirectorySnapshot) -> None:
        """Make what active agencies lack, and close what revoked agencies have. Repeating it changes nothing.

        Raises:
            DependencyUnavailable: PostgreSQL or RabbitMQ does not answer; call it again.
        """
        async with self._one_at_a_time:
            with translate_errors():
                async with self.pool.acquire(timeout=10) as connection:
                    await self._choose_queues(connection, snapshot)
                    unfinished = await agency_queues.list_unfinished(connection)
                    provisioned = await agency_queues.list_provisioned(connection)
            for agency_id in provisioned:
                if snapshot.find_active_agency(agency_id) is None:
                    await self._remove(agency_id)
            await self._provision(
                {a: queue for a, queue in unfinished.items() if snapshot.find_active_agency(a) is not None}
            )

    async def reconcile_quietly(self, snapshot: DirectorySnapshot) -> bool:
        """Reconcile in the background of something else; return whether it worked. What did not is tried again at the next occasion."""
        try:
            await self.reconcile(snapshot)
        except SafelaneError as error:
            log.warning("provisioning_postponed", code=error.code)
            return False
        return True

    async def _choose_queues(self, connection: "asyncpg.pool.PoolConnectionProxy", snapshot: DirectorySnapshot) -> None:
        for agency in snapshot.directory.agencies:
            if is_active(agency):
                await agency_queues.reopen(connection, agency.id)
                await agency_queues.choose_queue(connection, agency.id, new_delivery_queue_name(agency.id))

    async def _provision(self, queues: Mapping[str, str]) -> None:
        """Provision in one go: RabbitMQ takes two seconds to settle after new queues, however many there are."""
        if self.provision is None or not queues:
            return
        await self.provision(queues)
        with translate_errors():
            async with self.pool.acquire(timeout=10) as connection:
                for agency_id in queues:
                    await agency_queues.mark_provisioned(connection, agency_id, now=self.clock())
        for agency_id in queues:
            log.info("agency_provisioned", agency=agency_id)

    async def _remove(self, agency_id: str) -> None:
        if self.remove is None:
            return
        await self.remove(agency_id)
        with translate_errors():
            async with self.pool.acquire(timeout=10) as connection:
                await agency_queues.mark_removed(connection, agency_id, now=self.clock())
        log.info("agency_removed", agency=agency_id)
