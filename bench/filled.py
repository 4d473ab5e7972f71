"""The filled county on disk: one PostgreSQL data directory below ``var/bench``, made once and opened again by every measurement that asks for its size.

Filling goes with ``fsync`` off and little write-ahead log; measuring goes with the server's own settings. ``make clean`` removes it, ``--fresh`` makes it anew.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import yaml

from bench.county_week import WEEK
from bench.filling import CountyPlan, OnStep, fill_county
from bench.servers import ROOT
from bench.synthetic_log import LogPlan
from broker.registry import versions
from broker.store import upgrade_database
from deploy.local.stack import LocalStack
from schemas.checkpoint import write_verifier
from schemas.directory import HubKeys, WitnessPolicy
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from tests.support.authority import SAMPLES, AgencyKit, FoundedAuthority
from tests.support.console import LOG_ORIGIN
from tests.support.logged_referrals import RECEIVERS, SCHOOLS, SENDERS
from tests.support.servers import run_sql

EVENTS: Final = 10_000_000
WEEKS: Final = 104
VERSION: Final = 1
"""Of what is filled: a directory of another version is made anew."""
DATABASE: Final = "county"
WITNESSES: Final = ("csc.marchshire", "police.marchshire")
A_CHECKPOINT: Final = 64
_COSIGNED: Final = 20
_FOR_FILLING: Final = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "8GB",
    "autovacuum": "off",
}


@dataclass(frozen=True, slots=True)
class FilledCounty:
    """What measurements need of it: the superuser's connection string, and which ids there are."""

    dsn: str = field(repr=False)
    folder: Path
    events: int
    referrals_a_week: int
    weeks: int
    ends_at: datetime
    log_jwk: dict[str, Any] = field(repr=False)
    postgres_pid: int
    seconds: float
    """What filling took; 0 where it was there."""

    @property
    def starts_at(self) -> datetime:
        return self.ends_at - self.weeks * WEEK

    @property
    def trust_file(self) -> Path:
        return self.folder / "authority" / "trust.json"

    def referral(self, number: int) -> str:
        """Return the id of some referral; other numbers, other referrals."""
        return f"ref-{self._week(number):04x}{self._place(number):08x}"

    def delivery(self, number: int) -> str:
        """Return the id of that referral's first delivery."""
        return f"dlv-{self._week(number):04x}{self._place(number):08x}-0"

    def busy_referral(self, number: int) -> str:
        """Return the id of a referral of many revisions, at which many people looked."""
        return f"ref-{self._week(number):04x}{self.referrals_a_week:08x}"

    def token(self, number: int) -> str:
        """Return a child's token; children of low numbers have more referrals."""
        return f"nhs|p1|{self._week(number):04x}{number * 13 % self.referrals_a_week:06x}"

    def instant(self, number: int) -> datetime:
        """Return an instant somewhere in the log's time."""
        return self.starts_at + (self.ends_at - self.starts_at) * ((number * 37 % 97) / 97)

    def position(self, number: int) -> int:
        """Return a position in the log."""
        return number * 7_919_017 % self.events

    def _week(self, number: int) -> int:
        return number * 37 % self.weeks

    def _place(self, number: int) -> int:
        return number * 7919 % self.referrals_a_week


@asynccontextmanager
async def open_filled(events: int, *, fresh: bool = False, on_step: OnStep = print) -> AsyncIterator[FilledCounty]:
    """Open the county of about so many events, filled first where it is not there or ``fresh``; its server stops afterwards, its data stay."""
    root = ROOT / f"filled-{events}"
    stack = LocalStack(root)
    known = _read_description(stack.root)
    if fresh or known is None:
        stack.destroy()
        stack = LocalStack(root)
    try:
        stack.postgres.start()
        if fresh or known is None:
            known = await _fill(stack, events, on_step)
        dsn = stack.postgres.dsn(DATABASE)
        await upgrade_database(dsn)
        await _renew_directory(stack, dsn)
        if stack.postgres.pid is None:
            raise RuntimeError("PostgreSQL has ended")
        yield describe_county(stack.root, dsn, known, stack.postgres.pid)
    finally:
        stack.postgres.stop()


def describe_county(folder: Path, dsn: str, known: dict[str, Any], postgres_pid: int) -> FilledCounty:
    """Return a filled county from its description."""
    return FilledCounty(
        dsn=dsn,
        folder=folder,
        events=known["events"],
        referrals_a_week=known["referrals_a_week"],
        weeks=known["weeks"],
        ends_at=datetime.fromisoformat(known["ends_at"]),
        log_jwk=known["log_jwk"],
        postgres_pid=postgres_pid,
        seconds=known.get("seconds", 0.0),
    )


def _read_description(root: Path) -> dict[str, Any] | None:
    path = root / "filled.json"
    known = json.loads(path.read_text()) if path.exists() else None
    return known if known is not None and known["version"] == VERSION else None


async def _fill(stack: LocalStack, events: int, on_step: OnStep) -> dict[str, Any]:
    began = datetime.now(UTC)
    admin = stack.postgres.dsn("postgres")
    for name, value in _FOR_FILLING.items():
        await run_sql(admin, f"ALTER SYSTEM SET {name} = '{value}'")
    await asyncio.to_thread(_restart, stack)
    await run_sql(admin, f"CREATE DATABASE {DATABASE}")
    dsn = stack.postgres.dsn(DATABASE)
    known = await prepare_county(dsn, stack.root, CountyPlan.of(events, began, weeks=WEEKS), on_step)
    for name in _FOR_FILLING:
        await run_sql(admin, f"ALTER SYSTEM RESET {name}")
    await asyncio.to_thread(os.sync)
    await asyncio.to_thread(_restart, stack)
    known["seconds"] = round((datetime.now(UTC) - began).total_seconds())
    (stack.root / "filled.json").write_text(json.dumps(known, indent=2))
    return known


async def prepare_county(dsn: str, folder: Path, plan: CountyPlan, on_step: OnStep) -> dict[str, Any]:
    """Migrate an empty database, found its authority below ``folder``, fill it, and return its description."""
    await upgrade_database(dsn)
    log_jwk = generate_ed25519_jwk(KeyUse.LOG)
    kits = await _found_authority(dsn, folder, log_jwk)
    events = await fill_county(dsn, plan, LogPlan(LOG_ORIGIN, log_jwk, 0, A_CHECKPOINT, payloads=True), on_step)
    await _cosign(dsn, kits)
    return {
        "version": VERSION,
        "events": events,
        "referrals_a_week": plan.referrals_a_week,
        "weeks": plan.weeks,
        "ends_at": plan.ends_at.isoformat(),
        "log_jwk": log_jwk,
    }


def _restart(stack: LocalStack) -> None:
    stack.postgres.stop()
    stack.postgres.start()


async def _found_authority(dsn: str, folder: Path, log_jwk: dict[str, Any]) -> list[AgencyKit]:
    """Found the county's authority and publish a directory with all its agencies, the log's key and two witnesses."""
    authority = await asyncio.to_thread(_found, folder)
    keys = HubKeys(log_origin=LOG_ORIGIN, log_verifier=write_verifier(LOG_ORIGIN, public_part(log_jwk)))
    kits = [AgencyKit.make(agency) for agency in WITNESSES]
    authority.enrol(*kits)
    authority.change(hub=keys, witnesses=WitnessPolicy(agencies=WITNESSES, quorum=len(WITNESSES)))
    await _publish(dsn, authority)
    return kits


def _found(folder: Path) -> FoundedAuthority:
    folder.mkdir(parents=True, exist_ok=True)
    partnership = folder / "partnership.yaml"
    partnership.write_text(yaml.safe_dump(_write_partnership(), allow_unicode=True))
    return FoundedAuthority.found(folder, partnership=partnership)


def _write_partnership() -> dict[str, Any]:
    """Return the sample partnership with the county's further agencies, each like one that is there."""
    document: dict[str, Any] = yaml.safe_load((SAMPLES / "partnership.yaml").read_text())
    known = {agency["id"]: agency for agency in document["agencies"]}
    for agency in sorted({*SENDERS, *RECEIVERS, *SCHOOLS} - set(known)):
        kind = agency.partition(".")[0]
        like = next(known[a] for a in known if a.startswith(f"{kind}."))
        document["agencies"].append({**like, "id": agency, "name": f"{like['name']} ({agency})", "identifiers": {}})
    return document


async def _publish(dsn: str, authority: FoundedAuthority) -> None:
    signed = authority.sign()
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await versions.insert_directory(connection, signed.body, signed.directory)
    finally:
        await connection.close(timeout=5)


async def _renew_directory(stack: LocalStack, dsn: str) -> None:
    """Sign the directory again where it ends within a day: a county that is kept outlives it."""
    authority = FoundedAuthority(stack.root / "authority")
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        ends_at = await connection.fetchval("SELECT max(expires_at) FROM directory_versions")
    finally:
        await connection.close(timeout=5)
    if ends_at < datetime.now(UTC) + timedelta(days=1):
        await _publish(dsn, authority)


async def _cosign(dsn: str, kits: Sequence[AgencyKit]) -> None:
    """Cosign every checkpoint; the newest of them with the witnesses' keys."""
    connection = await asyncpg.connect(dsn, command_timeout=600)
    try:
        newest = await connection.fetch(
            "SELECT size, note, at FROM log_checkpoints ORDER BY size DESC LIMIT $1", _COSIGNED
        )
        await connection.execute(
            "INSERT INTO log_cosignatures (size, witness, line, at, received_at) SELECT c.size, w, 'long ago', c.at, c.at"
            " FROM log_checkpoints c CROSS JOIN unnest($1::text[]) w WHERE c.size < $2",
            list(WITNESSES),
            newest[-1]["size"],
        )
        await connection.copy_records_to_table(
            "log_cosignatures",
            columns=("size", "witness", "line", "at", "received_at"),
            records=[
                (row["size"], kit.agency, kit.cosign(row["note"], at=row["at"]), row["at"], row["at"])
                for row in newest
                for kit in kits
            ],
        )
        await connection.execute("ANALYZE log_cosignatures")
    finally:
        await connection.close()


def remove_filled(events: int) -> None:
    """Remove a county's directory."""
    stack = LocalStack(ROOT / f"filled-{events}")
    stack.destroy()
    shutil.rmtree(stack.root, ignore_errors=True)
