"""Gives enrolled agencies their way into RabbitMQ and closes it for revoked ones. Tried again until it is done."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import asyncpg
import structlog

from broker.amqp.topology import new_delivery_queue_name
from broker.registry import agency_queues
from broker.registry.agency_queues import ProvisionAgencies, RemoveAgency
from broker.registry.snapshot import DirectorySnapshot
from broker.registry.versions import Connection
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

        While another process is at it, this returns at once.

        Raises:
            DependencyUnavailable: PostgreSQL or RabbitMQ does not answer; call it again.
        """
        with translate_errors():
            async with self._one_at_a_time, self.pool.acquire(timeout=10) as connection:
                if not await agency_queues.try_lock(connection):
                    return
                try:
                    await self._reconcile(connection, snapshot)
                finally:
                    await agency_queues.unlock(connection)

    async def reconcile_quietly(self, snapshot: DirectorySnapshot) -> bool:
        """Reconcile in the background of something else; return whether it worked. What did not is tried again at the next occasion."""
        try:
            await self.reconcile(snapshot)
        except SafelaneError as error:
            log.warning("provisioning_postponed", code=error.code)
            return False
        return True

    async def _reconcile(self, connection: Connection, snapshot: DirectorySnapshot) -> None:
        for agency in snapshot.directory.agencies:
            if is_active(agency):
                await agency_queues.reopen(connection, agency.id)
                await agency_queues.choose_queue(connection, agency.id, new_delivery_queue_name(agency.id))
        if self.remove is not None:
            for agency_id in await agency_queues.list_provisioned(connection):
                if snapshot.find_active_agency(agency_id) is None:
                    await self.remove(agency_id)
                    await agency_queues.mark_removed(connection, agency_id, now=self.clock())
                    log.info("agency_removed", agency=agency_id)
        wanted = await agency_queues.list_unfinished(connection)
        await self._provision(connection, [a for a in wanted if snapshot.find_active_agency(a) is not None])

    async def _provision(self, connection: Connection, agency_ids: Sequence[str]) -> None:
        """Provision in one go: RabbitMQ takes two seconds to settle after new queues, however many there are."""
        if self.provision is None or not agency_ids:
            return
        names = {agency_id: new_delivery_queue_name(agency_id) for agency_id in agency_ids}
        for agency_id, queue in names.items():
            await agency_queues.rename_unfinished(connection, agency_id, queue)
        await self.provision(names)
        for agency_id in agency_ids:
            await agency_queues.mark_provisioned(connection, agency_id, now=self.clock())
            log.info("agency_provisioned", agency=agency_id)
