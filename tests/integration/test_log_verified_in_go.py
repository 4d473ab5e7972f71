"""The log verified by an implementation that is not ours: golang.org/x/mod's ``note`` and ``tlog``, unchanged, over HTTP."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from broker.log import NewEvent
from deploy.authority.state import save_state
from schemas.checkpoint import read_checkpoint, write_verifier
from schemas.directory import WitnessPolicy
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from tests.support.authority import AgencyKit
from tests.support.go_program import GoMissing, build_verifier, ensure_go
from tests.support.http_serving import serve_app
from tests.support.hub_api import LOG_ORIGIN, HubApi, open_hub_api

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def verifylog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        ensure_go(print)
    except GoMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
    return build_verifier(tmp_path_factory.mktemp("go"))


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[HubApi]:
    async with open_hub_api(database, tmp_path / "authority") as api:
        yield api


async def append(hub: HubApi, count: int) -> str:
    """Append clear and salted entries and return the checkpoint."""
    at = datetime.now(UTC)
    members = {"at": at.isoformat(), "by": "ann", "action": "show", "subject": "ref_1"}
    events = [NewEvent.salted("audit_read", members) for _ in range(count - 1)]
    events.append(NewEvent.clear("heartbeat", {"at": at.isoformat(), "size": count}))
    async with hub.pool.acquire() as connection, connection.transaction():
        return (await hub.context.log.append(connection, events, at=at)).note


async def enrol_and_cosign(hub: HubApi, *kits: AgencyKit) -> int:
    """Make these agencies the witnesses, and hand in their cosignatures; return the size that they cosigned."""
    await hub.enrol(*kits)
    policy = WitnessPolicy(agencies=tuple(kit.agency for kit in kits), quorum=len(kits))
    save_state(hub.authority.folder, hub.authority.state(), witnesses=policy)
    assert (await hub.publish(hub.authority.sign())).status_code == 201
    note = (await hub.client.get("/log/checkpoint/proposed")).text
    for kit in kits:
        body = {"size": read_checkpoint(note).size, "line": kit.cosign(note, at=datetime.now(UTC))}
        assert (await hub.call("POST", "/v1/log/cosignatures", kit, json=body)).status_code == 201
    return read_checkpoint(note).size


async def ask(program: Path, *arguments: str) -> tuple[int, str]:
    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout + done.stderr


async def test_go_verifies_signature_entries_and_growth_and_refuses_what_is_wrong(
    hub: HubApi, verifylog: Path, tmp_path: Path
) -> None:
    first = await append(hub, 300)
    police, csc = AgencyKit.make("police.marchshire"), AgencyKit.make("csc.marchshire")
    first += police.cosign(first, at=datetime.now(UTC))  # an Ed25519 and an ML-DSA line of a key that nobody asks for
    for count in (1, 255, 256, 700):
        await append(hub, count)
    old, key = tmp_path / "old.txt", hub.context.log.verifier
    old.write_text(first)
    rows = await hub.owner.fetch(
        "SELECT position, entry FROM log_entries WHERE position = ANY($1)", [0, 255, 299, 1511]
    )
    entries = [f"-entry={row['position']}:{row['entry'].hex()}" for row in rows]
    assert len(entries) == 4
    async with serve_app(hub.app) as url:
        log = ("-url", f"{url}/log", "-key", key)
        code, told = await ask(verifylog, *log, "-old", str(old), *entries)
        assert (code, told.splitlines()) == (
            0,
            [
                f"checkpoint of 1512 entries is signed by {LOG_ORIGIN}",
                *(f"entry {row['position']} is in the log" for row in rows),
                "the log of 1512 entries begins with that of 300",
            ],
        )
        size = await enrol_and_cosign(hub, police, csc)
        witness, other = (
            write_verifier(kit.agency, public_part(csc.witness_jwks[0]), use=KeyUse.WITNESS) for kit in (csc, police)
        )
        code, told = await ask(verifylog, *log, "-witness", witness)
        said = f"the log of {size} entries is cosigned by {csc.agency}; 4 other signatures"
        assert (code, told.splitlines()[-1]) == (0, said), "the log's own, csc's ML-DSA-44 and both of police"
        code, told = await ask(verifylog, *log, "-witness", other)
        assert (code, "witness:" in told) == (1, True)
        code, told = await ask(verifylog, *log, f"-entry=7:{rows[0]['entry'].hex()}")
        assert (code, "entry:" in told) == (1, True)
        other = write_verifier(LOG_ORIGIN, public_part(generate_ed25519_jwk(KeyUse.LOG)))
        code, told = await ask(verifylog, "-url", f"{url}/log", "-key", other)
        assert (code, "checkpoint:" in told) == (1, True)
        await hub.owner.execute("UPDATE log_tiles SET hashes = set_byte(hashes, 32, get_byte(hashes, 32) # 1)")
        code, told = await ask(verifylog, *log, entries[0])
        assert (code, "entry:" in told) == (1, True)
