"""A gateway in a process of its own, for fault tests: it kills itself with SIGKILL at a named step. Run: python -m tests.support.gateway_process FOLDER [STEP] [MUTATION].

The folder holds ``gateway.yaml``, the agencies' keystores and ``authority.json`` (the stub hub's keys). It prints the local API's port once it listens.
"""

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from adapters.gateway.config import load_config
from adapters.gateway.identity.keystore import Keystore
from adapters.gateway.identity.sealed_secrets import read_key_encryption_key
from adapters.gateway.outgoing.outbox_model import OutboxReferral
from adapters.gateway.outgoing.sender import Sender
from adapters.gateway.wiring import build_gateway
from schemas.keys import SigningKeys
from tests.support.gateways import StubHub, policy_pack

RECEIVED_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)


def save_hub(hub: StubHub, folder: Path) -> None:
    """Keep the stub hub's authority keys and the agencies' folders for the process."""
    folders = {agency: str(keystore._sealed._path) for agency, keystore in hub.keystores.items()}
    kept = {
        "jwks": list(hub.authority_jwks),
        "ca_pem": hub.ca_pem,
        "keystores": folders,
        "issued_at": hub.issued_at.isoformat(),
    }
    (folder / "authority.json").write_text(json.dumps(kept))


def load_hub(folder: Path) -> StubHub:
    """Rebuild the stub hub."""
    kept = json.loads((folder / "authority.json").read_text())
    hub = StubHub(SigningKeys.from_jwks(*kept["jwks"]), kept["jwks"], kept["ca_pem"], lambda: RECEIVED_AT)
    hub.issued_at = datetime.fromisoformat(kept["issued_at"])
    hub.matrix = policy_pack().matrix.to_directory_rows()
    for agency, path in kept["keystores"].items():
        kek = read_key_encryption_key(Path(path).parent / "kek", None)
        hub.keystores[agency] = Keystore.open(Path(path), agency, kek)
    return hub


def kill_at(step: str) -> None:
    """Die at ``step`` as in a power cut."""

    def observe(name: str) -> None:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    observers.append(observe)


observers: list = []


def mutate(mutation: str) -> None:
    """Break the sender on purpose: ``reseal`` publishes what it has just sealed without storing it first."""
    if mutation != "reseal":
        return
    store_then_publish = Sender._seal

    async def publish_then_store(self: Sender, item: OutboxReferral) -> None:
        outbox = self._parts.outbox
        kept: list = []
        record, outbox.record_sealing = outbox.record_sealing, lambda *args: kept.append(args)  # type: ignore[method-assign]
        await store_then_publish(self, item)
        outbox.record_sealing = record  # type: ignore[method-assign]
        sealing = kept[0][1]
        await self._parts.publisher.publish("referral", sealing.body, sealing.message_id)
        self._parts.observe("after_publish")
        record(*kept[0])

    Sender._seal = publish_then_store  # type: ignore[method-assign]


async def run(folder: Path) -> None:
    """Serve until killed."""
    hub = load_hub(folder)
    config = load_config(folder / "gateway.yaml")
    gateway = build_gateway(
        config,
        clock=lambda: RECEIVED_AT,
        observe=lambda name: [observe(name) for observe in observers] and None,
        transport=hub.transport(),
    )
    for agency in gateway.agencies.values():
        await agency.keeper.refresh()
    await gateway.run(asyncio.Event(), ready=lambda port: print(port, flush=True))


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2]:
        kill_at(sys.argv[2])
    if len(sys.argv) > 3:
        mutate(sys.argv[3])
    asyncio.run(run(Path(sys.argv[1])))
