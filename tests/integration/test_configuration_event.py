"""A hub that starts with another configuration says so in its log, once."""

from pathlib import Path

from deploy.hub_programs import log_configuration
from tests.support.hub_world import open_hub_world
from tests.support.servers import RabbitVhost


async def test_a_changed_configuration_is_an_event_and_the_same_again_is_none(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        assert await log_configuration(world.config)
        assert not await log_configuration(world.config)
        worker = world.config.worker.model_copy(update={"prefetch": 7})
        assert await log_configuration(world.config.model_copy(update={"worker": worker}))
        assert await log_configuration(world.config), "back again is a change too"
        kinds = [row["kind"] for row in await world.owner.fetch("SELECT kind FROM log_entries")]
        assert kinds == ["configuration"] * 3
