"""Checkpoints timestamped by an authority outside (``openssl ts`` on loopback): stored, in evidence packs, verified offline; late ones only alarm."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from broker.config import read_log_key
from broker.log import LogWriter, NewEvent
from broker.log.lateness import CosignatureAlarm
from broker.log.timestamping import (
    TimestampAuthority,
    Timestamper,
    TimestampUnavailable,
    read_timestamp_state,
)
from broker.store import open_pool
from deploy.authority.signing import read_trust
from deploy.cli import app
from deploy.evidence.checking import PackChecker
from deploy.evidence.export import export_evidence
from deploy.evidence.pack import Files, seal_pack, write_pack
from schemas.directory import WitnessPolicy
from schemas.errors import SignatureInvalid
from schemas.timestamp import read_roots, verify_timestamp
from tests.support.hub_world import CSC, ORIGIN, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.reviewing import serve_api
from tests.support.servers import RabbitVhost
from tests.support.timestamp_authority import LocalAuthority, serve_timestamps


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path / "hub") as world:
        async with world.running_worker():
            await world.publish(POLICE, [world.seal(Draft(referral_id="ref-0000000000stamped1")).body])
            await world.wait_for("SELECT count(*) FROM messages", 1)
        yield world


@pytest.fixture
async def pool(world: HubWorld) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(world.config.postgres.read_dsn("api"), name="test", most=2)
    yield pool
    await pool.close()


def writer(world: HubWorld) -> LogWriter:
    return LogWriter(ORIGIN, read_log_key(world.config.log.key_file))


def timestamper(
    world: HubWorld, pool: asyncpg.Pool, authority: LocalAuthority, *, late: timedelta = timedelta(hours=3)
) -> Timestamper:
    roots = read_roots(authority.ca_file.read_bytes())
    outside = TimestampAuthority(authority.url, roots, timeout_seconds=1)
    return Timestamper(
        pool, writer(world), outside, every=timedelta(hours=1), late_after=late, clock=lambda: datetime.now(UTC)
    )


async def grow(world: HubWorld) -> None:
    now = datetime.now(UTC)
    async with world.owner.transaction():
        await writer(world).append(
            world.owner, [NewEvent.clear("heartbeat", {"at": now.isoformat(), "size": 0})], at=now
        )


async def export(world: HubWorld) -> Files:
    trust = read_trust(world.folder / "authority" / "trust.json")
    pool = await open_pool(world.config.postgres.read_dsn("worker"), name="test", most=1)
    try:
        return await export_evidence(
            pool, writer(world), "ref-0000000000stamped1", trust.authority, by="ann", now=datetime.now(UTC)
        )
    finally:
        await pool.close()


def reseal(files: Files) -> Files:
    facts = json.loads(files["pack.json"])
    rest = {name: data for name, data in files.items() if name != "pack.json"}
    return seal_pack(rest, **{k: v for k, v in facts.items() if k not in {"files", "format"}})


async def test_a_timestamp_is_kept_goes_into_packs_and_is_verified_offline(
    world: HubWorld, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    with serve_timestamps(tmp_path / "tsa") as authority:
        stamper = timestamper(world, pool, authority)
        assert await stamper.stamp_if_due()
        assert not await stamper.stamp_if_due(), "nothing new, and none is due for an hour"
        await grow(world)
        assert not await stamper.stamp_if_due()
        assert authority.asked == 1
        roots = read_roots(authority.ca_file.read_bytes())
    row = await world.owner.fetchrow(
        "SELECT t.size, t.token, c.note FROM log_timestamps t JOIN log_checkpoints c USING (size)"
    )
    assert abs(verify_timestamp(row["token"], row["note"], roots) - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(SignatureInvalid):
        verify_timestamp(row["token"], row["note"] + " ", roots)
    with serve_timestamps(tmp_path / "other") as other, pytest.raises(SignatureInvalid):
        verify_timestamp(row["token"], row["note"], read_roots(other.ca_file.read_bytes()))

    files = await export(world)
    pinned = read_trust(world.folder / "authority" / "trust.json").authority_keys()
    verdict = PackChecker(files, pinned, roots).check()
    assert verdict.broken == []
    assert [line for line in verdict.proved if "timestamped by an authority outside" in line]
    assert [line for line in PackChecker(files, pinned).check().open if "--timestamp-ca" in line]
    pack = tmp_path / "pack.zip"
    write_pack(files, pack)
    trust = str(world.folder / "authority" / "trust.json")
    shown = await asyncio.to_thread(
        CliRunner().invoke,
        app,
        ["verify", str(pack), "--trust", trust, "--timestamp-ca", str(tmp_path / "tsa" / "ca.pem")],
    )
    assert "timestamped by an authority outside (RFC 3161)" in shown.output, shown.output

    held = json.loads(files["timestamp.json"])
    newest = files["checkpoint.txt"].decode()
    for change in (
        {"checkpoint": newest},
        {"consistency": held["consistency"][1:]},
        {"token": held["token"][:-4] + "AAAA"},
    ):
        forged = reseal(files | {"timestamp.json": json.dumps(held | change).encode()})
        assert PackChecker(forged, pinned, roots).check().exit_code == 4, change


@pytest.mark.parametrize("behaviour", ["down", "slow", "rubbish", "replay"])
async def test_whatever_the_authority_does_nothing_false_is_kept(
    world: HubWorld, pool: asyncpg.Pool, tmp_path: Path, behaviour: str
) -> None:
    with serve_timestamps(tmp_path / "tsa") as authority:
        stamper = timestamper(world, pool, authority)
        if behaviour == "replay":
            assert await stamper.stamp_if_due()
            await world.owner.execute("DELETE FROM log_timestamps")
            await grow(world)
        authority.behaviour = behaviour
        with pytest.raises(TimestampUnavailable):
            await stamper.stamp_if_due()
        assert await world.owner.fetchval("SELECT count(*) FROM log_timestamps") == 0
        authority.behaviour = "honest"
        assert await stamper.stamp_if_due(), "it goes on by itself"


async def test_late_timestamps_and_cosignatures_alarm_and_stop_nothing(
    world: HubWorld, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    with serve_timestamps(tmp_path / "tsa") as authority:
        authority.behaviour = "down"
        stamper = timestamper(world, pool, authority, late=timedelta(microseconds=1))
        for _ in range(3):
            with pytest.raises(TimestampUnavailable):
                await stamper.stamp_if_due()
        state = await read_timestamp_state(world.owner)
        assert state.late_by(datetime.now(UTC), timedelta(0)) > timedelta(0)
        policy = WitnessPolicy(agencies=(CSC, SCHOOL), quorum=2)
        alarm = CosignatureAlarm(writer(world), late_after=timedelta(microseconds=1))
        for _ in range(3):
            assert await alarm.check(world.owner, policy, now=datetime.now(UTC))
        gaps = await world.owner.fetch("SELECT entry FROM log_entries WHERE kind = 'checkpoint_gap' ORDER BY position")
        assert [json.loads(row["entry"])["code"] for row in gaps] == ["timestamps-late", "cosignatures-late"], (
            "once each"
        )

        settings = {"url": authority.url, "ca_file": authority.ca_file, "late_after": timedelta(microseconds=1)}
        world.config = world.config.model_validate(world.config.model_dump() | {"timestamps": settings})
        async with world.running_worker(), serve_api(world) as api:
            await world.publish(POLICE, [world.seal(Draft()).body])
            await world.wait_for("SELECT count(*) FROM messages", 2)
            assert len(await world.receive(SCHOOL, 2)) == 2, "referrals go on"
            ready = (await api.client.get("/readyz")).json()
            assert ready["checks"]["log"] == "ok"
            assert ready["log"]["timestamps"]["size"] == 0
            metrics = (await api.client.get("/metrics")).text
            assert "safelane_log_timestamps_late_seconds" in metrics
            authority.behaviour = "honest"
            await world.wait_for("SELECT count(*) > 0 FROM log_timestamps", expected=True, seconds=30)
