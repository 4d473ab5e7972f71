"""``fsck`` over a test's hub."""

from broker.config import read_log_key
from broker.log.fsck import Fsck
from schemas.canonical import decode_base64url
from tests.support.hub_world import ORIGIN, HubWorld


async def list_findings(world: HubWorld) -> list[str]:
    """Return the code of each thing that ``fsck`` finds."""
    key = decode_base64url(read_log_key(world.config.log.key_file)["x"])
    return [found.code for found in (await Fsck(world.owner, ORIGIN, key).run()).findings]
