"""RabbitMQ lost everything: one command, and referrals go through again under the old queue names."""

import asyncio
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from broker.config import load_config
from deploy.cli import app
from deploy.queue_restoring import restore_queues
from schemas.errors import ConfigInvalid
from tests.support.hub_api import HUB_URL
from tests.support.hub_world import POLICE, Draft, open_hub_world
from tests.support.servers import RabbitVhost


async def test_empty_rabbitmq_is_filled_again(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> None:
    async with open_hub_world(database, rabbit_vhost, tmp_path) as world:
        with pytest.raises(ConfigInvalid):
            await restore_queues(load_config(world.config_file))
        administration = rabbit_vhost.stack.administration_settings(vhost=rabbit_vhost.vhost)
        settings = yaml.safe_load(world.config_file.read_text())
        settings["api"] = {
            "public_url": HUB_URL,
            "certificate_file": "unused",
            "key_file": "unused",
            "administration": administration.model_dump(mode="json")
            | {"password": administration.password.get_secret_value()},
        }
        world.config_file.write_text(yaml.safe_dump(settings))
        await rabbit_vhost.administration.delete_vhost()
        await rabbit_vhost.administration.remove_user(POLICE)

        done = await asyncio.to_thread(
            CliRunner().invoke, app, ["hub", "restore-queues", "--config", str(world.config_file)]
        )

        assert done.exit_code == 0, done.output
        assert "4 agencies" in done.output
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(Draft()).body])
            await world.wait_for("SELECT count(*) FROM messages WHERE outcome = 'accepted'", 1)
