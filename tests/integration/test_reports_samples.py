"""The sample referrals through a real hub: every report gives the figures that the sample files give when they are counted by hand.

The figures here were counted from the files and FORMATS.md (39 records in 24 files; social care opens all it gets after 45 minutes, Oakfield after 50,
nobody else says a word), not computed from the expected results.
"""

import asyncio
import csv
import io
import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from broker.audit import Projector
from broker.config import read_log_key
from broker.log import LogWriter
from broker.reports.catalogue import REPORTS, find_report
from broker.reports.counting import count_clock, count_delivery, count_referral
from broker.reports.csv_form import write_csv
from broker.reports.fact_store import read_facts
from broker.reports.facts import ClockFact, DeliveryFact, ReferralFact
from broker.reports.making import ReportMaker
from broker.reports.periods import Period, ReportFilters
from broker.reports.projection import ReportProjection
from broker.reports.report import ReportResult
from broker.reports.sampling import store as samples
from broker.store import open_pool
from deploy.cli import app
from schemas.errors import Conflict
from tests.support.hub_world import HubWorld, open_hub_world
from tests.support.sample_traffic import AFTERWARDS, list_agencies, open_traffic
from tests.support.servers import RabbitVhost

TODAY = date(2027, 3, 1)
PERIOD = {"from": "2026-11-01", "to": "2026-12-31"}
MASH = "Marchshire County Council, Children's Social Care (MASH)"
POLICE = "Marchshire Constabulary, Safeguarding Hub"
FIGURES: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    # (report, table): row label to the cells after it. Times: medians are of all 39 deliveries that somebody opened.
    ("journey", "stages"): {"Released to opened": ("39", "45 minutes", "50 minutes")},
    ("journey", "hours"): {"05:00": ("9", "6", "67%"), "02:00": ("0", "0", "–"), "All": ("48", "32", "67%")},
    ("clocks", "clocks"): {
        "Local authority acknowledgement": ("7", "7", "0", "0", "0", "0", "100%"),
        "Strategy discussion": ("3", "0", "0", "3", "0", "0", "0%"),
        "Encompass before school": ("7", "3", "0", "4", "0", "0", "43%"),
        "All": ("48", "16", "0", "32", "0", "0", "33%"),
    },
    ("clocks", "overdue"): {"MASH triage": ("6", "0", "0", "0", "6"), "All": ("32", "0", "0", "0", "32")},
    ("encompass", "routes"): {"Marchshire": ("7", "5", "1", "1", "0", "14%")},
    ("encompass", "agencies"): {"Oakfield Academy": ("3", "3", "0", "0", "0", "0", "100%")},
    ("missing", "events"): {"Open": ("3",), "Update": ("2",), "Found": ("2",)},
    ("missing", "instant"): {"20 November 2026 12:00": ("3",)},
    ("missing", "stock"): {"13 Nov": ("0",), "14 Nov": ("3",), "20 Nov": ("4",), "21 Nov": ("5",), "31 Dec": ("5",)},
    ("missing", "levels"): {
        "Level set without a rationale": ("1", "5", "20%"),
        "Level lowered": ("1", "5", "20%"),
        "Risk review overdue when sent": ("3", "5", "60%"),
    },
    ("risk", "states"): {
        "Child protection (section 47)": ("3", "2", "0", "1", "0", "33%"),
        "Multi-agency referral": ("3", "1", "2", "0", "0", "0%"),
        "All": ("19", "13", "2", "4", "0", "21%"),
    },
    ("risk", "checks"): {"No supervisor's check": ("1", "19", "5%")},
    ("risk", "reassessed"): {"All": ("2", "2", "0", "0", "100%")},
    ("ethnicity", "flags"): {
        "Not stated, avoidably": ("5", "34", "15%"),
        "Officer's perception only": ("3", "34", "9%"),
    },
    ("voice", "kinds"): {"Missing child": ("5", "0", "5", "0%"), "All": ("33", "24", "9", "73%")},
    ("voice", "interpreters"): {"A relative interpreted": ("1", "39", "3%")},
    ("basis", "basis"): {
        "Legal obligation (c)": ("34",),
        "Public task (e)": ("4",),
        "Recognised legitimate interest (ea)": ("1",),
    },
    ("basis", "tell"): {"All": ("39", "22", "7", "10", "26%")},
    ("basis", "consent"): {"All": ("39", "3", "4", "29", "2", "0", "1", "0", "74%")},
    ("withheld", "compartments"): {"C12 Sealed": ("3", "0", "2", "1", "0", "33%")},
    ("withheld", "holds"): {
        "D6 outside section 16LA": ("5", "0", "0", "5", "0%"),
        "D8 offender information": ("1", "0", "0", "1", "0%"),
    },
    ("undelivered", "reached"): {
        MASH: ("29", "0", "0", "29", "0", "0", "0", "0%"),
        "All": ("68", "29", "0", "39", "0", "0", "0", "43%"),
    },
    ("undelivered", "unopened"): {"All": ("29", "29", "0")},
    ("feedback", "feedback"): {"All": ("34", "0", "34", "0%")},
    ("repeats", "repeats"): {"Missing child": ("5", "3", "2", "0", "0", "0", "0")},
    ("strategy", "ready"): {
        "Social care": ("3", "3", "0", "0", "100%"),
        "Health safeguarding": ("3", "0", "0", "3", "0%"),
    },
    ("online", "times"): {"Incident to referral": ("1", "2 hours 30 minutes", "2 hours 30 minutes")},
    ("online", "ages"): {"Online sexual abuse": ("1", "0", "0", "0", "1")},
    ("online", "offenders"): {"Marchshire": ("1", "1", "0", "0", "100%")},
    ("corrections", "recipients"): {"All": ("4", "4", "0", "0", "0%"), "Oakfield Academy": ("1", "1", "0", "0", "0%")},
    ("log", "events"): {"Accepted": ("39",), "Decided": ("85",), "Receipt": ("78",)},
    ("agreements", "alerts"): {"Agreement review overdue": ("7",), "Agreement expired": ("1",)},
}


@pytest.fixture
async def world(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with open_hub_world(database, rabbit_vhost, tmp_path, agencies=list_agencies()) as world:
        yield world


@pytest.fixture
async def pool(world: HubWorld) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(world.config.postgres.read_dsn("api"), name="test", most=2)
    yield pool
    await pool.close()


async def read_cells(owner: asyncpg.Connection) -> dict[tuple[Any, ...], int]:
    cells = await owner.fetch("SELECT * FROM report_cells WHERE n <> 0")
    durations = await owner.fetch("SELECT * FROM report_durations WHERE n <> 0")
    found = {tuple(row.values())[:-1]: row["n"] for row in cells}
    for row in durations:
        where = (row["kind"], row["area"], "", row["code"], "", row["bucket"])
        found["stage", row["span"], row["starts_on"], *where] = row["n"]
    return found


async def make_all(pool: asyncpg.Pool, threshold: int, **more: str) -> dict[str, ReportResult]:
    maker = ReportMaker(lambda: AFTERWARDS, threshold=threshold)
    filters = ReportFilters.read(PERIOD | more, today=TODAY)
    async with pool.acquire() as connection:
        return {report.id: await maker.make(connection, report, filters) for report in REPORTS}


@pytest.mark.timeout(400)
async def test_the_samples_give_the_figures_that_were_counted_by_hand(world: HubWorld, pool: asyncpg.Pool) -> None:
    async with open_traffic(world) as traffic:
        await traffic.send_all()
    projector = Projector(pool, [ReportProjection()], batch_events=50)
    assert await projector.catch_up() == await world.owner.fetchval("SELECT count(*) FROM log_entries")
    reports = await make_all(pool, threshold=1, at="2026-11-20T12:00")
    assert [report.report.number for report in reports.values()] == list(range(1, 21))
    check_figures(reports)
    await check_counts_follow_facts(world, projector)
    suppressed = await make_all(pool, threshold=5)
    check_suppression(suppressed)
    await check_command(world, suppressed)
    await check_chronology(world, pool)
    await check_sample(world, pool)
    await check_erasure(world)


def check_figures(reports: dict[str, ReportResult]) -> None:
    for (report_id, name), wanted in FIGURES.items():
        table = reports[report_id].find_table(name)
        assert table is not None, (report_id, name)
        found = {row[0].text: tuple(cell.text for cell in row[1:]) for row in table.rows}
        assert {label: found.get(label) for label in wanted} == wanted, (report_id, name)


async def check_counts_follow_facts(world: HubWorld, projector: Projector) -> None:
    """What is kept is what the facts count, and counting everything again in other batches gives the same."""
    before = await read_cells(world.owner)
    ids = [row["message_id"] for row in await world.owner.fetch("SELECT message_id FROM report_referrals")]
    expected: Counter[Any] = Counter()
    for fact, _ in await read_facts(world.owner, ReferralFact, ids):
        expected.update(count_referral(fact))
    for delivery, _ in await read_facts(world.owner, DeliveryFact, ids):
        expected.update(count_delivery(delivery))
    for clock, _ in await read_facts(world.owner, ClockFact, ids):
        expected.update(count_clock(clock))
    kept = {(k[0], k[2], *k[3:]): n for k, n in before.items() if k[1] == "day"}
    assert {
        tuple(cell): n for cell, n in expected.items() if cell.measure not in {"skew"} and n
    }.items() <= kept.items()
    await projector.rebuild("reports")
    assert await read_cells(world.owner) == {}
    await projector.catch_up()
    assert await read_cells(world.owner) == before


def check_suppression(reports: dict[str, ReportResult]) -> None:
    """No count of children from 1 to 4 is on any page or in any file, and the file says what the page says."""
    for report_id, result in reports.items():
        protected = {c.name: c for t in result.tables for c in t.columns if c.sort == "count"}
        for table in result.tables:
            told = list(csv.reader(io.StringIO(write_csv(table))))
            assert [[c.text for c in row] for row in table.rows] == told[1:], (report_id, table.name)
            for row in table.rows:
                for column, cell in zip(table.columns, row, strict=True):
                    small = column.sort == "count" and isinstance(cell.value, int) and 0 < cell.value < 5
                    assert not small or report_id == "samples", (report_id, table.name, column.name)
        assert protected or report_id in {"chronology", "access", "log", "samples"}
    table = reports["basis"].find_table("basis")
    assert table is not None
    assert {row[0].text: row[1].text for row in table.rows} == {
        "Legal obligation (c)": "34",
        "Public task (e)": "fewer than 5",
        "Recognised legitimate interest (ea)": "fewer than 5",
        "All": "39",
    }


async def check_command(world: HubWorld, reports: dict[str, ReportResult]) -> None:
    """The command line gives the same file, having logged the look."""
    table = reports["clocks"].find_table("clocks")
    assert table is not None
    asked = ["--from", PERIOD["from"], "--to", PERIOD["to"], "--csv", "clocks", "--by", "ann"]
    arguments = ["audit", "report", "clocks", *asked, "--config", str(world.config_file)]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    assert result.stdout.splitlines() == write_csv(table).splitlines()
    event = await world.owner.fetchval(
        "SELECT event FROM log_payloads p JOIN log_entries e USING (event_id) WHERE e.kind = 'audit_read' ORDER BY e.position DESC LIMIT 1"
    )
    told = json.loads(event)
    assert (told["by"], told["action"], told["subject"]) == ("ann", "report", "clocks 2026-11-01 2026-12-31")


async def check_chronology(world: HubWorld, pool: asyncpg.Pool) -> None:
    """Who knew what of the child of the corrected referral: both messages, in order, and nobody's steps from other matters."""
    referral_id = await world.owner.fetchval(
        "SELECT c.referral_id FROM report_referrals r JOIN report_referrals c ON c.message_id = r.supersedes WHERE r.kind = 'CORRECTION'"
    )
    maker = ReportMaker(lambda: AFTERWARDS)
    filters = ReportFilters.read(PERIOD | {"referral": referral_id}, today=TODAY)
    async with pool.acquire() as connection:
        steps = (await maker.make(connection, find_report("chronology"), filters)).tables[0]
    told = [tuple(cell.text for cell in row) for row in steps.rows]
    assert told[0][1:3] == (POLICE, "Sent")
    assert [row[0].value for row in steps.rows] == sorted(row[0].value for row in steps.rows)  # type: ignore[type-var]
    released = {(row[3], row[4]) for row in told if row[2] == "Released"}
    assert (MASH, "Child protection (section 47)") in released
    assert (MASH, "Correction") in released
    opened = next(row for row in told if row[1] == MASH and row[2] == "Opened")
    assert "Risk" in opened[5]
    assert "Source in confidence" not in opened[5]


async def check_sample(world: HubWorld, pool: asyncpg.Pool) -> None:
    """A sample is drawn once by a seed that is in the log in clear, the same by anybody, and graded by two auditors."""
    log = LogWriter(world.config.log.origin, read_log_key(world.config.log.key_file))
    period = Period(date(2026, 11, 1), date(2026, 11, 30))
    now = datetime(2027, 3, 1, 12, tzinfo=UTC)
    async with pool.acquire() as connection:
        async with connection.transaction():
            sample_id = await samples.publish_seed(
                connection, log, period=period, strata=("kind",), size=20, by="inspector", now=now
            )
        entry = await world.owner.fetchval("SELECT entry FROM log_entries WHERE kind = 'sample_seeded'")
        sample = await samples.read_sample(connection, sample_id)
        assert sample["seed"].encode() in entry
        async with connection.transaction():
            drawn = await samples.draw_published(connection, log, sample_id, by="inspector", now=now)
        population = await samples.read_population(connection, sample)
        assert len(population) == 31  # 34 new referrals, three of them in December
        assert samples.draw_sample(sample["seed"], reversed(population), 20) == drawn
        assert {c.stratum for c in drawn} == {c.stratum for c in population}
        with pytest.raises(Conflict):
            await samples.draw_published(connection, log, sample_id, by="inspector", now=now)
        for auditor, grade in (("ann", "good"), ("ben", "inadequate"), ("ben", "good")):
            async with connection.transaction():
                grading = samples.Grading(sample_id, 1, grade, "risk", "none")
                await samples.grade_item(connection, log, grading, by=auditor, now=now)
        (listed,) = await samples.list_samples(connection)
        assert (listed["graded"], listed["twice"], listed["agreed"]) == (1, 1, 1)
    assert await world.owner.fetchval("SELECT count(*) FROM log_entries WHERE kind = 'sample_graded'") == 3


async def check_erasure(world: HubWorld) -> None:
    """Erasing a payload erases the pseudonyms that came from it, and no count."""
    before = await read_cells(world.owner)
    event_id = await world.owner.fetchval("SELECT event_id FROM report_subjects LIMIT 1")
    await world.owner.execute("DELETE FROM log_payloads WHERE event_id = $1", event_id)
    assert await world.owner.fetchval("SELECT count(*) FROM report_subjects WHERE event_id = $1", event_id) == 0
    assert await read_cells(world.owner) == before
