"""One agency's gateway: what both halves share, and the halves."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from adapters.gateway.config import AgencyConfig
from adapters.gateway.identity.directory_keeper import DirectoryKeeper
from adapters.gateway.identity.hub_client import HubClient
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.outgoing.intake import DocumentIntake
from adapters.gateway.outgoing.outbox import Outbox
from adapters.gateway.outgoing.sender import Sender
from adapters.gateway.parts import AgencyParts
from adapters.gateway.store import GatewayStore
from adapters.gateway.upkeep import Upkeep
from adapters.gateway.witnessing.witness import Witness

if TYPE_CHECKING:
    from adapters.gateway.incoming.receiving import Receiving


@dataclass(frozen=True, slots=True)
class AgencyGateway:
    """One agency's whole gateway. ``receiving`` is the receiving half."""

    parts: AgencyParts
    intake: DocumentIntake
    sender: Sender
    upkeep: Upkeep
    witness: Witness
    receiving: "Receiving"

    @property
    def agency(self) -> str:
        """The agency's id."""
        return self.parts.agency

    @property
    def config(self) -> AgencyConfig:
        """The agency's configuration."""
        return self.parts.config

    @property
    def store(self) -> GatewayStore:
        """The agency's store."""
        return self.parts.store

    @property
    def keystore(self) -> Keystore:
        """The agency's keystore."""
        return self.parts.keystore

    @property
    def keeper(self) -> DirectoryKeeper:
        """The agency's directory."""
        return self.parts.keeper

    @property
    def hub(self) -> HubClient:
        """The agency's client of the hub's API."""
        return self.parts.hub

    @property
    def outbox(self) -> Outbox:
        """The agency's outbox."""
        return self.parts.outbox

    @property
    def clock(self) -> Callable[[], datetime]:
        """The business clock."""
        return self.parts.clock
