"""Gives an empty RabbitMQ what Safelane needs again: after its data were lost, gateways and the hub go on under the same queue names.

What waited there is sent again by those who have no receipt for it; what arrives twice has one effect (DESIGN, "After 202, the referral survives").
"""

from broker.amqp.administration import RabbitAdministration
from broker.config import HubConfig
from broker.registry import agency_queues
from broker.store import translate_errors
from deploy.hub_status import open_operator
from schemas.errors import ConfigInvalid


async def restore_queues(config: HubConfig) -> list[str]:
    """Make the virtual host, the hub's topology, and user and queue of every active agency; return these agencies. What is there stays as it is.

    Raises:
        ConfigInvalid: the configuration does not hold the way into RabbitMQ's management API.
        DependencyUnavailable: PostgreSQL or RabbitMQ does not answer, or there is no directory; call it again.
    """
    if config.api is None or config.api.administration is None:
        raise ConfigInvalid("is not set", field="api.administration")
    async with open_operator(config) as (pool, registry):
        snapshot = await registry.current()
        queues: dict[str, str] = {}
        with translate_errors():
            async with pool.acquire(timeout=10) as connection:
                for agency_id in await agency_queues.list_provisioned(connection):
                    queue = await agency_queues.read_queue(connection, agency_id)
                    if queue is not None and snapshot.find_active_agency(agency_id) is not None:
                        queues[agency_id] = queue
    administration = RabbitAdministration(config.api.administration)
    try:
        await administration.prepare_vhost()
        await administration.provision_agencies(queues, known=queues)
    finally:
        await administration.close()
    return list(queues)
