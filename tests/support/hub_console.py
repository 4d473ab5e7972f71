"""A whole hub and its console on one database, for journeys that need both: agencies send with real keys, people look in a browser.

Playwright keeps the test's own event loop, so the hub lives in another thread with a loop of its own; ``do`` runs a coroutine there.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from deploy.authority.people import Approver
from deploy.local.pki import Pki
from deploy.local.stack import LocalStack
from schemas.directory import Person
from tests.support.authority import FoundedAuthority
from tests.support.console import ConsoleSite, start_console, write_console_part
from tests.support.hub_api import set_role_password
from tests.support.hub_world import HubWorld, open_hub_world
from tests.support.reviewing import PersonalApi, serve_api
from tests.support.servers import fresh_database, open_vhost

Result = TypeVar("Result")


@dataclass
class HubLoop:
    """An event loop in a thread of its own."""

    loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, Result], *, seconds: float = 60) -> Result:
        """Run a coroutine there and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=seconds)


@dataclass
class HubConsole:
    """The hub (``world``, its API and a running worker), its console (``site``), and the officers' authority."""

    hub: HubLoop
    world: HubWorld
    api: PersonalApi
    site: ConsoleSite
    approvers: dict[str, Approver] = field(default_factory=dict)
    """People who sign, by their ids."""

    @property
    def authority(self) -> FoundedAuthority:
        return FoundedAuthority(self.world.folder / "authority")

    def do(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine in the hub's loop."""
        return self.hub.do(work)


@contextmanager
def open_loop() -> Iterator[HubLoop]:
    """Run an event loop in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="hub", daemon=True)
    thread.start()
    try:
        yield HubLoop(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=20)
        loop.close()


@contextmanager
def open_hub_console(
    stack: LocalStack,
    console: ConsoleSite,
    folder: Path,
    *,
    agencies: Sequence[str],
    people: Sequence[Person],
    partnership: Path,
) -> Iterator[HubConsole]:
    """Open a hub on servers that run, and a console on its database with the certificate that the tests' browser trusts."""
    with open_loop() as hub:
        parts = AsyncExitStack()
        try:
            dsn = hub.do(parts.enter_async_context(asynccontextmanager(fresh_database)(stack)))
            vhost = hub.do(parts.enter_async_context(open_vhost(stack)))
            opened = open_hub_world(dsn, vhost, folder, agencies=agencies, people=people, partnership=partnership)
            world = hub.do(parts.enter_async_context(opened))
            hub.do(set_role_password(world.owner, "safelane_console"))
            api = hub.do(parts.enter_async_context(serve_api(world)))
            hub.do(parts.enter_async_context(world.running_worker()))
            site = _start_console(console, world, dsn)
            try:
                yield HubConsole(hub, world, api, site)
            finally:
                site.process.end()
        finally:
            hub.do(parts.aclose())


def _start_console(console: ConsoleSite, world: HubWorld, dsn: str) -> ConsoleSite:
    """Add a console to the hub's configuration and start it."""
    folder = world.folder
    part, sealer = write_console_part(folder, dsn, Pki(console.folder / "pki"))
    document = yaml.safe_load(world.config_file.read_text())
    document["postgres"]["console_dsn_file"] = "console.dsn"
    config_file = folder / "console.yaml"
    config_file.write_text(yaml.safe_dump({**document, "console": part}))
    url = part["public_url"]
    return replace(
        console,
        url=url,
        dsn=dsn,
        folder=folder,
        config_file=config_file,
        process=start_console(config_file, url, folder, console.ca_file),
        log=world.log,
        sealer=sealer,
        people={},
        referrals=[],
    )
