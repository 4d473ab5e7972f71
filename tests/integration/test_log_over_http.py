"""The log as anyone reads it over HTTP: rebuilt from tiles alone by another hand, and by pymerkle; witnessed by agencies."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pymerkle import InmemoryTree

from broker.log import NewEvent
from broker.log.heartbeat import beat_if_idle
from broker.log.witnessing import read_handed_in
from deploy.authority.directory_building import revoke_agency
from deploy.authority.state import save_state
from schemas.canonical import parse_object
from schemas.checkpoint import NoteVerifier, read_checkpoint, verify_checkpoint
from schemas.directory import WitnessPolicy
from schemas.keys import compute_thumbprint
from schemas.merkle import verify_consistency
from schemas.witnesses import find_cosigners, read_witnesses
from tests.support.authority import AgencyKit
from tests.support.hub_api import HubApi, open_hub_api

POLICE, CSC, SCHOOL = "police.marchshire", "csc.marchshire", "school.oakfield"
SECRETS = ("Aaliyah", "2014-02-29", "Oak Lane")


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[HubApi]:
    async with open_hub_api(database, tmp_path) as api:
        yield api


async def append(hub: HubApi, count: int, *, at: datetime | None = None) -> list[NewEvent]:
    now = at or datetime.now(UTC)
    events = [
        NewEvent.salted(
            "audit_read", {"at": now.isoformat(), "by": f"p{number}", "action": "show", "subject": SECRETS[0]}
        )
        for number in range(count)
    ]
    async with hub.pool.acquire() as connection, connection.transaction():
        await hub.context.log.append(connection, events, at=now)
    return events


def rebuild_root(leaves: list[bytes]) -> bytes:
    """Return RFC 9162's MTH by its own definition, in five lines that share nothing with ours."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + rebuild_root(leaves[:k]) + rebuild_root(leaves[k:])).digest()


async def fetch_entries(hub: HubApi, size: int) -> list[bytes]:
    """Fetch all entries and split the bundles by hand."""
    entries: list[bytes] = []
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        path = f"/log/tile/entries/{number:03d}" + ("" if width == 256 else f".p/{width}")
        answer = await hub.client.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        data = answer.content
        while data:
            length = data[0] * 256 + data[1]
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
    return entries


async def test_the_tree_is_rebuilt_from_what_is_served_and_every_tile_agrees(hub: HubApi) -> None:
    await hub.enrol(AgencyKit.make(POLICE))
    for count in (3, 250, 1, 300):
        await append(hub, count)
    note = (await hub.client.get("/log/checkpoint")).text
    origin, size_line, root_line = note.split("\n")[:3]
    size = int(size_line)

    vkey = (await hub.client.get("/log/key")).text.strip()
    name, _, encoded = vkey.split("+", 2)
    raw = base64.b64decode(encoded)
    signature = base64.b64decode(note.split("\n\n")[1].split(" ")[2])
    Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature[4:], (note.split("\n\n")[0] + "\n").encode())
    assert (name, raw[0]) == (origin, 1)

    entries = await fetch_entries(hub, size)
    assert len(entries) == size
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    assert base64.b64encode(rebuild_root(leaves)).decode() == root_line
    oracle = InmemoryTree(algorithm="sha256")
    for entry in entries:
        oracle.append_entry(entry)
    assert oracle.get_root() == rebuild_root(leaves)

    for number in range(size // 256):
        assert (await hub.client.get(f"/log/tile/0/{number:03d}")).content == b"".join(
            leaves[number * 256 : number * 256 + 256]
        )
    rest = size % 256
    for width in (1, rest):
        partial = (await hub.client.get(f"/log/tile/0/{size // 256:03d}.p/{width}")).content
        assert partial == b"".join(leaves[size - rest : size - rest + width])
    upper = b"".join(rebuild_root(leaves[n * 256 : n * 256 + 256]) for n in range(size // 256))
    assert (await hub.client.get(f"/log/tile/1/000.p/{size // 256}")).content == upper

    for first in (1, 3, 253, 256, size - 1, size):
        proof = (await hub.client.get(f"/log/consistency/{first}/{size}")).text.split()
        path = [bytes.fromhex(node) for node in proof]
        assert verify_consistency(first, size, rebuild_root(leaves[:first]), rebuild_root(leaves), path)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/009",
        "tile/entries/000.p/255",
        "tile/7/000.p/1",
        "tile/1/000",
        "tile/0/0",
        "tile/0/000.p/999",
        "consistency/9/3",
    ],
)
async def test_what_no_checkpoint_covers_is_not_served(hub: HubApi, path: str) -> None:
    await append(hub, 5)
    assert (await hub.client.get(f"/log/{path}")).status_code in {400, 404, 422}


async def test_monitors_read_clear_events_and_learn_nothing_of_persons(hub: HubApi) -> None:
    await hub.enrol(AgencyKit.make(POLICE))
    await append(hub, 4)
    note = (await hub.client.get("/log/checkpoint")).text
    entries = [parse_object(e, max_bytes=9999) for e in await fetch_entries(hub, int(note.split("\n")[1]))]
    clear = [e for e in entries if "event" in e]
    assert {"directory", "key"} <= {e["event"] for e in clear}
    assert any(e.get("agency") == POLICE for e in clear)
    assert all(list(e) == ["commitment"] for e in entries if "event" not in e)
    served = str(entries) + note
    assert not [secret for secret in SECRETS if secret in served]


async def enrol_witnesses(hub: HubApi, *kits: AgencyKit, quorum: int) -> None:
    policy = WitnessPolicy(agencies=tuple(sorted(kit.agency for kit in kits)), quorum=quorum)
    await hub.enrol(*kits)
    save_state(hub.authority.folder, hub.authority.state(), witnesses=policy)
    response = await hub.publish(hub.authority.sign())
    assert response.status_code == 201


async def test_a_quorum_of_cosignatures_makes_a_witnessed_checkpoint(hub: HubApi) -> None:
    police, csc, school = AgencyKit.make(POLICE), AgencyKit.make(CSC), AgencyKit.make(SCHOOL)
    await enrol_witnesses(hub, police, csc, quorum=2)
    await hub.enrol(school)
    assert (await hub.client.get("/log/checkpoint/witnessed")).status_code == 404
    log = NoteVerifier.from_text((await hub.client.get("/log/key")).text)

    note = (await hub.client.get("/log/checkpoint/proposed")).text
    await append(hub, 5)
    assert (await hub.client.get("/log/checkpoint/proposed")).text == note, "one proposal for all witnesses"
    size = verify_checkpoint(note, log).size
    now = datetime.now(UTC)

    async def cosign(kit: AgencyKit, *, name: str | None = None, of: str = note, keys: slice = slice(None)) -> int:
        lines = kit.cosign(of, at=now, name=name).splitlines(keepends=True)[keys]
        body = {"size": size, "line": "".join(lines)}
        return (await hub.call("POST", "/v1/log/cosignatures", kit, json=body)).status_code

    assert await cosign(police) == 201
    assert await cosign(police) == 200
    assert (await hub.client.get("/log/checkpoint/witnessed")).status_code == 404
    assert await cosign(school) == 403
    assert await cosign(csc, name=POLICE) == 401
    newest = (await hub.client.get("/log/checkpoint")).text
    assert newest != note
    assert await cosign(csc, of=newest) == 401, "a cosignature of another checkpoint"
    for half in (slice(0, 1), slice(1, 2)):
        assert await cosign(csc, keys=half) == 401, "the directory lists two keys of this witness"
    assert await cosign(csc) == 201

    witnessed = (await hub.client.get("/log/checkpoint/witnessed")).text
    assert verify_checkpoint(witnessed, log).size == size
    directory = (await hub.context.registry.current()).directory
    assert set(find_cosigners(witnessed, read_witnesses(directory))) == {POLICE, CSC}
    assert witnessed.count(f"— {CSC} ") == 2
    ready = await hub.client.get("/readyz")
    assert ready.json()["log"]["witnessed_size"] == size
    assert "safelane_log_unwitnessed_entries" in (await hub.client.get("/metrics")).text


async def test_what_is_said_of_witnesses_counts_witnesses_as_the_directory_lists_them_today(hub: HubApi) -> None:
    """A second key and a revoked one: ``/readyz`` and the metrics say what is handed out as witnessed, not how many rows there are."""
    police, csc = AgencyKit.make(POLICE), AgencyKit.make(CSC)
    before = replace(police, witness_jwks=police.witness_jwks[:1])
    await enrol_witnesses(hub, before, csc, quorum=2)
    now = datetime.now(UTC)

    async def cosign(*kits: AgencyKit) -> int:
        await append(hub, 1)
        note = (await hub.client.get("/log/checkpoint")).text
        size = read_checkpoint(note).size
        for kit in kits:
            body = {"size": size, "line": kit.cosign(note, at=now)}
            assert (await hub.call("POST", "/v1/log/cosignatures", kit, json=body)).status_code == 201
        return size

    async def look() -> tuple[int, int, int]:
        served = await hub.client.get("/log/checkpoint/witnessed")
        log = (await hub.client.get("/readyz")).json()["log"]
        metrics = (await hub.client.get("/metrics")).text
        unwitnessed = re.search(r"^safelane_log_unwitnessed_entries (\S+)$", metrics, re.MULTILINE)
        assert unwitnessed is not None
        assert log["size"] - float(unwitnessed[1]) == log["witnessed_size"]
        found = read_checkpoint(served.text).size if served.status_code == 200 else 0
        return found, log["witnessed_size"], log["witnesses_heard"]

    first = await cosign(before, csc)
    assert await look() == (first, first, 2)
    assert (await hub.publish(hub.authority.enrol(police))).status_code == 201
    assert await look() == (0, 0, 2), "the directory lists another key of one of the two since"
    alone = await cosign(police)
    assert await look() == (0, 0, 2), f"both keys of one witness are no quorum of two at {alone}"
    both = await cosign(police, csc)
    assert await look() == (both, both, 2)
    state = hub.authority.state()
    revoked = compute_thumbprint(csc.witness_jwks[1])
    changed = revoke_agency(state, CSC, now=now, thumbprint=revoked)
    assert (await hub.publish(hub.authority.sign(changed=changed))).status_code == 201
    assert await look() == (0, 0, 2), "a witness's key was revoked"
    policy = (await hub.context.registry.current()).directory.witnesses
    assert (await read_handed_in(hub.owner, policy))[1] == both, "and nothing has waited for a quorum because of that"


async def test_an_idle_log_beats_once_and_says_how_long_it_was_silent(hub: HubApi) -> None:
    now = datetime.now(UTC)
    async with hub.pool.acquire() as connection:
        assert await beat_if_idle(connection, hub.context.log, now=now) is None, "an empty log has nothing to say"
    await append(hub, 2, at=now)
    later = now + timedelta(minutes=6)
    async with hub.pool.acquire() as one, hub.pool.acquire() as other:
        assert await beat_if_idle(one, hub.context.log, now=later) is not None
        assert await beat_if_idle(other, hub.context.log, now=later) is None
        assert await beat_if_idle(other, hub.context.log, now=later + timedelta(hours=1)) is not None
    kinds = await hub.owner.fetch("SELECT kind FROM log_entries ORDER BY position")
    assert [row["kind"] for row in kinds] == ["audit_read"] * 2 + ["heartbeat", "checkpoint_gap", "heartbeat"]
