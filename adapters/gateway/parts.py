"""The parts of one agency's gateway that both halves use. ``wiring`` builds them; nothing here has behaviour."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from adapters.gateway.config import AgencyConfig, GatewayConfig
from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.publisher import Publisher
from adapters.gateway.outgoing.recipients import RecipientBook
from adapters.gateway.store import GatewayStore
from broker.amqp.settings import AmqpSettings

Clock = Callable[[], datetime]
Observe = Callable[[str], None]


def observe_nothing(_step: str) -> None:
    """Stand at no step: the default step hook."""


@dataclass(frozen=True, slots=True)
class AgencyParts:
    """Everything that one agency's halves share.

    Attributes:
        clock: the business clock (mapping, ages, decisions, deadlines).
        real_clock: the real clock (keys, directory, freshness, retries, timeouts).
        observe: called with a step's name between every pair of steps; a fault test kills the process there.
        queue: this agency's delivery queue.
    """

    agency: str
    config: AgencyConfig
    gateway: GatewayConfig
    store: GatewayStore = field(repr=False)
    keystore: Keystore = field(repr=False)
    keeper: DirectoryKeeper
    hub: HubClient
    outbox: Outbox
    recipients: RecipientBook
    publisher: Publisher
    amqp_settings: AmqpSettings
    queue: str
    clock: Clock
    real_clock: Clock
    observe: Observe = observe_nothing
