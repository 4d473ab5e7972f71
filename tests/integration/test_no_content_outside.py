"""No content outside sealed sections: logs, answers of the hub, problems, metrics, queue names, message properties, database and file names.

Referrals go the whole way, faulty ones are refused, and canaries are put where they do not belong. Whatever leaves the gateways' stores is searched
for the referrals' own words (promise 1).
"""

import copy
import io
import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from structlog.testing import capture_logs

from adapters.gateway.random_ids import new_opaque_id
from adapters.mapping import draft_header
from broker.decisions import DEFAULT_PACK
from deploy.local.inspection import collect_needles
from deploy.local.leak_search import LeakSearch
from tests.support.gateways import PEPPER
from tests.support.hub_world import CSC, HEALTH, POLICE, SCHOOL, HubWorld, open_hub_world
from tests.support.living import Living, live
from tests.support.sample_files import SAMPLES, load_sample_directory, map_document
from tests.support.servers import RabbitVhost

GP = "gp.millbrook"
AT = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
NIGHT = SAMPLES / "police-encompass-csv" / "encompass-20261122.csv"
BAD = sorted((SAMPLES / "bad").iterdir())
CANARY = "Zephyrine Quillfeather"
NAMES = ("Penhallow-Test", "Underhay-Test", "Pepperpot-Test", "O'Whimsy-Brown", "Mossgrove-Invented", "Quillfeather")
MEDIA = {".json": "application/json", ".csv": "text/csv", ".xml": "application/xml"}


def write_out(record: Any) -> str:
    """Write a log record out with its traceback, as the most talkative renderer would."""
    if isinstance(record, logging.LogRecord):
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
    else:
        text = repr(record)
        error = record.get("exc_info")
    return text + ("".join(traceback.format_exception(error)) if isinstance(error, BaseException) else "")


def read_needles() -> list[str]:
    """Return what the referrals say and nobody may read: their texts, without what is public."""
    referrals = [
        outcome.referral
        for path in (SIBLINGS, NIGHT)
        for outcome in map_document(path.relative_to(SAMPLES).as_posix(), path.read_bytes(), AT)
        if outcome.referral is not None
    ]
    pack = [path.read_text() for path in sorted(DEFAULT_PACK.iterdir()) if path.is_file()]
    public = "\n".join([(SAMPLES / "partnership.yaml").read_text(), *pack])
    return [*collect_needles(referrals, public), *(name for name in NAMES if name not in public)]


def put_canaries(node: Any, root: Any) -> Iterator[Any]:
    """Yield ``root`` once for each of its values, with the canary in that place."""
    for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
        node[key] = CANARY
        yield root
        node[key] = value
        if isinstance(value, dict | list):
            yield from put_canaries(value, root)


async def hand_over_everything(living: Living) -> list[str]:
    """Send the good documents, have the recipients open what they get, hand over the bad ones, and return what was answered."""
    said = []
    for path in (SIBLINGS, NIGHT, *BAD):
        answer = await living.clients[POLICE].post(
            "/referrals", content=path.read_bytes(), headers={"Content-Type": MEDIA[path.suffix]}
        )
        said.append(describe_answer(answer))

    for agency in (CSC, HEALTH, GP):

        async def arrived(agency: str = agency) -> Any:
            return (await living.get(agency, "/inbox"))["deliveries"]

        for line in await living.eventually(arrived):
            assert (await living.clients[agency].get(f"/inbox/{line['delivery_id']}")).status_code == 200
            wrong = {"state": CANARY, "reason_code": CANARY, "person": CANARY}
            answer = await living.clients[agency].post(f"/inbox/{line['delivery_id']}/receipts", json=wrong)
            assert answer.status_code >= 400
            said.append(describe_answer(answer))
    return said


async def ask_wrongly(living: Living) -> list[str]:
    """Ask the hub for plans with a canary in each place of the header in turn, and for things that are not there."""
    [outcome] = map_document(SIBLINGS.relative_to(SAMPLES).as_posix(), SIBLINGS.read_bytes(), AT)
    assert outcome.referral is not None
    ids = {subject.ref: new_opaque_id() for subject in outcome.referral.subjects}
    header = draft_header(outcome.referral, load_sample_directory(), ids, PEPPER).model_dump(mode="json")
    said = []
    refused = 0
    for question in put_canaries(copied := copy.deepcopy({"header": header}), copied):
        answer = await living.api.call("POST", "/v1/plan", POLICE, json.dumps(question).encode())
        refused += answer.status_code == 400
        if answer.status_code != 200:  # an id may be any word: its plan repeats it to the one who asked
            said.append(describe_answer(answer))
    assert refused > 50
    for path in ("/v1/referrals/none-of-this-name", "/v1/reviews?state=open", "/v1/nothing"):
        said.append(describe_answer(await living.api.call("GET", path, POLICE)))
    said.append(describe_answer(await living.api.call("POST", "/v1/enrolments", POLICE, CANARY.encode())))
    for path in ("/metrics", "/readyz", "/healthz", "/v1/directory"):
        said.append(describe_answer(await living.api.client.get(path)))
    return said


def describe_answer(answer: httpx.Response) -> str:
    return f"{answer.request.url} {answer.headers} {answer.text}"


async def copy_database(owner: asyncpg.Connection) -> dict[str, bytes]:
    tables = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = {}
    for row in tables:
        copied = io.BytesIO()
        await owner.copy_from_table(row["tablename"], output=copied, format="binary", timeout=60)
        found[f"table {row['tablename']}"] = copied.getvalue()
    return found


async def list_queue_names(world: HubWorld) -> str:
    settings = world.rabbit.administration
    listed = await settings._call("GET", f"/api/queues/{world.rabbit.vhost}")
    return json.dumps(listed)


async def test_the_referrals_words_stand_nowhere_but_in_sealed_sections(
    database: str,
    rabbit_vhost: RabbitVhost,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    agencies = (POLICE, CSC, HEALTH, GP, SCHOOL)
    with capture_logs() as events:
        async with (
            open_hub_world(database, rabbit_vhost, tmp_path / "hub", agencies=agencies) as world,
            live(world, tmp_path / "gateways", AT, without=[SCHOOL]) as living,
        ):
            places = {"answers of gateways": "".join(await hand_over_everything(living))}
            places["answers of the hub"] = "".join(await ask_wrongly(living))
            messages = await world.receive(SCHOOL, 5)
            assert len(messages) >= 4
            places["messages as a school gets them"] = repr(messages)
            places["queues"] = await list_queue_names(world)
            data = await copy_database(world.owner)
    assert len(events) > 5
    places["events"] = "".join(map(write_out, events))
    places["logs of libraries"] = "".join(map(write_out, caplog.records))
    places["standard output and error"] = "".join(capfd.readouterr())
    places["file names"] = "\n".join(str(path) for path in tmp_path.rglob("*"))  # noqa: ASYNC240 (a test)
    assert "safelane_" in places["answers of the hub"], "the metrics were not among what was searched"
    search = LeakSearch(read_needles())
    found = [search.search_bytes(text.encode(), place) for place, text in places.items()]
    found += [search.search_bytes(content, place) for place, content in data.items()]
    found.append(search.search_tree(tmp_path))
    leaks = {(leak.place, leak.encoding, search.needles[leak.needle][:3]) for report in found for leak in report.leaks}
    assert not leaks, sorted(leaks)
    assert sum(report.bytes_searched for report in found) > 100_000
