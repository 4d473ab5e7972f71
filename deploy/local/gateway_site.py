"""A gateway of the local partnership: one process for one agency, or one that hosts several, with configuration, enrolment and local API."""

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from adapters.gateway.config import AgencyConfig, GatewayConfig, load_config
from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.enrolment import (
    Invitation,
    PendingEnrolment,
    complete_enrolment,
    open_or_create_keystore,
    request_enrolment,
)
from adapters.gateway.identity.sealed_secrets import write_new_key_file
from adapters.gateway.identity.trust import read_trust_file
from adapters.gateway.wiring import build_hub_client
from deploy.clock import read_real_clock
from deploy.local.files import write_secret
from deploy.local.gateway_access import ContactKey, GatewayAccess
from deploy.local.hub_site import START_SECONDS, start_program
from deploy.local.processes import ServerProcess, find_free_port
from schemas.directory import Agency
from schemas.errors import DependencyUnavailable

CONTACT_KEY_BYTES = 32


class GatewaySite:
    """One gateway process below ``root`` for ``agencies``; what it receives is left as files below ``received``."""

    def __init__(self, name: str, root: Path, agencies: Sequence[Agency], received: Path) -> None:
        """Keep where things go; nothing is written or started."""
        self.name = name
        self.root = root
        self.agencies = tuple(agencies)
        self._received = received
        self.config_file = root / "gateway.yaml"
        self.process = ServerProcess(name, pid_file=root / "gateway.pid", log_file=root / "logs" / f"{name}.log")

    @property
    def config(self) -> GatewayConfig:
        """The configuration, as the program reads it."""
        return load_config(self.config_file)

    def configure(self, hub_url: str, trust_file: Path, clock_file: Path | None) -> None:
        """Write the configuration, the key-encryption keys, the local tokens and the contacts' keys, once."""
        if self.config_file.exists():
            return
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        document = {
            "environment": "test",
            "trust_file": str(trust_file),
            "hub_url": hub_url,
            "listen_port": find_free_port(),
            **({"clock_file": str(clock_file)} if clock_file else {}),
            "agencies": [self._describe(agency) for agency in self.agencies],
        }
        write_secret(self.config_file, yaml.safe_dump(document, sort_keys=False))

    def request_enrolments(self, invitations: dict[str, Invitation]) -> dict[str, PendingEnrolment]:
        """Make each agency's keys here and hand in its signed request; return the requests by agency."""
        return asyncio.run(self._request_all(invitations))

    def complete_enrolments(self) -> None:
        """Take and verify the authority's welcome for each agency."""
        asyncio.run(self._complete_all())

    def start(self) -> None:
        """Start the process.

        Raises:
            StartFailed: it ended, or was not ready in a minute.
        """
        start_program(self.process, "gateway", "serve", "--config", str(self.config_file))

    def await_ready(self) -> None:
        """Wait until the local API answers."""
        access = self.open_access(self.agencies[0].id)
        try:
            self.process.await_ready(access.is_ready, seconds=START_SECONDS)
        finally:
            access.close()

    def stop(self) -> None:
        """Stop the process."""
        self.process.end()

    def open_access(self, agency_id: str) -> GatewayAccess:
        """Return an agency's way into its local API."""
        config = self.config
        token = config.find_agency(agency_id).api_token_file.read_text().strip()
        return GatewayAccess(agency_id, f"http://127.0.0.1:{config.listen_port}", token)

    def read_contact_key(self, agency_id: str, contact: str) -> ContactKey | None:
        """Return the key of a named contact, or none where it is not configured."""
        found = self.config.find_agency(agency_id).inbox.find_contact(contact)
        return None if found is None else ContactKey(contact, found.key_file.read_text().strip())

    async def _request_all(self, invitations: dict[str, Invitation]) -> dict[str, PendingEnrolment]:
        config = self.config
        trust = read_trust_file(config.trust_file)
        pending = {}
        for entry in config.agencies:
            hub = build_hub_client(config, entry, trust, open_or_create_keystore(entry))
            try:
                pending[entry.agency] = await request_enrolment(
                    config, entry, trust, invitations[entry.agency], hub=hub, now=read_real_clock()
                )
            finally:
                await hub.close()
        return pending

    async def _complete_all(self) -> None:
        config = self.config
        trust = read_trust_file(config.trust_file)
        for entry in config.agencies:
            await _complete(config, entry, trust)

    def _describe(self, agency: Agency) -> dict[str, Any]:
        folder = self.root / agency.id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_new_key_file(folder / "keystore.key")
        write_secret(folder / "api.token", secrets.token_urlsafe(32))
        contacts = []
        for contact in agency.contacts:
            write_secret(folder / f"contact-{contact.id}.key", secrets.token_urlsafe(CONTACT_KEY_BYTES))
            contacts.append(
                {
                    "contact": contact.id,
                    "key_file": f"{agency.id}/contact-{contact.id}.key",
                    "folder": {"out_folder": str(self._received / agency.id / f"for-{contact.id}")},
                }
            )
        return {
            "agency": agency.id,
            "data_dir": f"{agency.id}/data",
            "key_encryption_key_file": f"{agency.id}/keystore.key",
            "api_token_file": f"{agency.id}/api.token",
            "drop_folder": {"path": f"{agency.id}/drop", "poll": 1.0, "settle": 1.0},
            "confirm_new_recipients": False,
            "inbox": {"folder": {"out_folder": str(self._received / agency.id / "inbox")}, "contacts": contacts},
        }


async def _complete(config: GatewayConfig, entry: AgencyConfig, trust: Any) -> None:
    keystore = open_or_create_keystore(entry)
    hub = build_hub_client(config, entry, trust, keystore)
    try:
        keeper = DirectoryKeeper(entry.directory_path, trust, hub, read_real_clock)
        if not await complete_enrolment(entry, trust, keystore, keeper, hub=hub, now=read_real_clock()):
            raise DependencyUnavailable("the authority's welcome has not reached the hub", field=entry.agency)
    finally:
        await hub.close()
