"""Users, permissions and delivery queues in RabbitMQ, over its management API (the same on 3.10 and 4.x).

One import of definitions makes any number of agencies at once; importing again changes nothing.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr

from broker.amqp.connection import BrokerRefused, BrokerUnavailable, retry_delay
from broker.amqp.topology import (
    HUB_USER,
    SETTLE_SECONDS,
    Exchange,
    Limits,
    Queue,
    agency_permissions,
    agency_topic_permissions,
    build_topology,
    check_agency_id,
    delivery_queue,
    hub_permissions,
    new_delivery_queue_name,
)
from schemas.errors import ConfigInvalid

_CLOSING_ATTEMPTS = 6


class AdministrationSettings(BaseModel):
    """Where the management API is, and who may use it. Only what enrols agencies holds these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """``https://host:port``, without a path."""
    user: str
    password: SecretStr
    ca_file: Path
    vhost: str = "safelane"
    timeout_seconds: float = 20.0
    settle_seconds: float = SETTLE_SECONDS
    """Wait after making a queue: see ``SETTLE_SECONDS`` in the topology. Tests that kill nothing set 0."""


@dataclass(frozen=True, slots=True)
class ProvisionedAgency:
    """What one agency has in RabbitMQ: the registry keeps it, and the gateway gets it at enrolment.

    Attributes:
        agency_id: the agency, and its RabbitMQ user name (common name of its client certificate).
        delivery_queue: name of its only readable queue.
    """

    agency_id: str
    delivery_queue: str


class RabbitAdministration:
    """Makes and removes what agencies need in one virtual host."""

    def __init__(self, settings: AdministrationSettings, *, limits: Limits | None = None) -> None:
        """Keep ``settings``; raise ``ConfigInvalid`` when the CA file is unusable."""
        try:
            context = ssl.create_default_context(cafile=str(settings.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigInvalid("the CA file cannot be loaded", field="administration.ca_file") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._settings = settings
        self._limits = limits
        self._client = httpx.AsyncClient(
            base_url=settings.url,
            auth=(settings.user, settings.password.get_secret_value()),
            verify=context,
            timeout=settings.timeout_seconds,
            trust_env=False,
        )

    async def provision_agencies(
        self, agency_ids: Iterable[str], *, known: Mapping[str, str] | None = None
    ) -> list[ProvisionedAgency]:
        """Make user, permissions and delivery queue of each agency; ``known`` gives queue names that exist already (by agency).

        Record a new queue's name only after this has returned. When it fails, call again without ``known``: the agency gets another queue, and
        an empty one that nobody may read is left.

        Raises:
            ConfigInvalid: an agency id cannot be a user name.
            BrokerUnavailable, BrokerRefused: the management API does not answer or does not accept us.
        """
        names = known or {}
        made = [ProvisionedAgency(check_agency_id(a), names.get(a) or new_delivery_queue_name(a)) for a in agency_ids]
        await self._import(agency_definitions(made, vhost=self._settings.vhost, limits=self._limits))
        return made

    async def provision_agency(self, agency_id: str, *, queue: str | None = None) -> ProvisionedAgency:
        """Make what one agency needs; see ``provision_agencies``."""
        made = await self.provision_agencies([agency_id], known={agency_id: queue} if queue else None)
        return made[0]

    async def remove_user(self, agency_id: str) -> None:
        """Close an agency's way in at once (revocation): its user, permissions and connections go; its queue and what waits there stay.

        Raises:
            BrokerUnavailable, BrokerRefused: the management API does not answer, does not accept us, or a connection does not close.
        """
        name = quote(check_agency_id(agency_id), safe="")
        await self._call("DELETE", f"/api/users/{name}", missing_is_fine=True)
        for attempt in range(1, _CLOSING_ATTEMPTS + 1):
            try:
                await self._close_connections(name)
            except BrokerUnavailable:
                # RabbitMQ ends a deleted user's connections too, and answers 500 to whoever closes one at that instant.
                if attempt == _CLOSING_ATTEMPTS:
                    raise
                await asyncio.sleep(retry_delay(attempt, ceiling=2.0))
            else:
                return

    async def _close_connections(self, user: str) -> None:
        for connection in await self._call("GET", f"/api/connections/username/{user}", missing_is_fine=True) or ():
            await self._call("DELETE", f"/api/connections/{quote(connection['name'], safe='')}", missing_is_fine=True)

    async def prepare_vhost(self) -> None:
        """Make the virtual host, the hub's user with its permissions, and the hub's topology."""
        vhost = self._settings.vhost
        await self._call("PUT", f"/api/vhosts/{quote(vhost, safe='')}", {})
        await self._import(hub_definitions(vhost=vhost, admin=self._settings.user, limits=self._limits))

    async def delete_vhost(self) -> None:
        """Remove the virtual host with everything in it (tests)."""
        await self._call("DELETE", f"/api/vhosts/{quote(self._settings.vhost, safe='')}", missing_is_fine=True)

    async def close(self) -> None:
        """Close HTTP connections."""
        await self._client.aclose()

    async def _import(self, definitions: dict[str, Any]) -> None:
        listed = await self._call("GET", f"/api/queues/{quote(self._settings.vhost, safe='')}?disable_stats=true")
        known = {queue["name"] for queue in listed}
        await self._call("POST", "/api/definitions", definitions)
        if any(queue["name"] not in known for queue in definitions["queues"]):
            await asyncio.sleep(self._settings.settle_seconds)

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, missing_is_fine: bool = False
    ) -> Any:
        try:
            response = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise BrokerUnavailable("the management API does not answer") from error
        if response.status_code == httpx.codes.NOT_FOUND and missing_is_fine:
            return None
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise BrokerRefused("the management API does not accept the administrator")
        if response.is_error:
            raise BrokerUnavailable(f"the management API answered {response.status_code}")
        return response.json() if response.content else None


def hub_definitions(*, vhost: str, admin: str, limits: Limits | None = None) -> dict[str, Any]:
    """Return RabbitMQ definitions of the hub's user, its permissions and its topology in ``vhost``, which must exist."""
    topology = build_topology(limits)
    return {
        "users": [_passwordless(HUB_USER)],
        "permissions": [
            {"user": HUB_USER, "vhost": vhost, **hub_permissions()},
            {"user": admin, "vhost": vhost, **hub_permissions()},
        ],
        "exchanges": [_exchange(exchange, vhost) for exchange in topology.exchanges],
        "queues": [_queue(queue, vhost) for queue in topology.queues],
        "bindings": [_binding(queue, vhost) for queue in topology.queues],
    }


def agency_definitions(
    agencies: Iterable[ProvisionedAgency], *, vhost: str, limits: Limits | None = None
) -> dict[str, Any]:
    """Return RabbitMQ definitions of users, permissions, topic permissions and delivery queues of ``agencies``."""
    made = list(agencies)
    queues = [delivery_queue(agency.delivery_queue, limits) for agency in made]
    return {
        "users": [_passwordless(agency.agency_id) for agency in made],
        "permissions": [{"user": a.agency_id, "vhost": vhost, **agency_permissions(a.delivery_queue)} for a in made],
        "topic_permissions": [
            {"user": a.agency_id, "vhost": vhost, **agency_topic_permissions(a.agency_id)} for a in made
        ],
        "queues": [_queue(queue, vhost) for queue in queues],
        "bindings": [_binding(queue, vhost) for queue in queues],
    }


def _passwordless(name: str) -> dict[str, Any]:
    """Return a user that can enter by certificate alone: an empty hash matches no password."""
    return {"name": name, "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ""}


def _exchange(exchange: Exchange, vhost: str) -> dict[str, Any]:
    return {
        "name": exchange.name,
        "vhost": vhost,
        "type": exchange.kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _queue(queue: Queue, vhost: str) -> dict[str, Any]:
    return {
        "name": queue.name,
        "vhost": vhost,
        "durable": True,
        "auto_delete": False,
        "arguments": dict(queue.arguments),
    }


def _binding(queue: Queue, vhost: str) -> dict[str, Any]:
    return {
        "source": queue.exchange,
        "vhost": vhost,
        "destination": queue.name,
        "destination_type": "queue",
        "routing_key": queue.routing_key,
        "arguments": {},
    }
