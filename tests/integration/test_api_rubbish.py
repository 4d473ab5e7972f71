"""Rubbish at every route of the hub's API, with and without a good token: a typed problem, never a crash, and nothing of it in the answer."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.authority import AgencyKit
from tests.support.hub_api import HubApi, open_hub_api

CANARY = "Canary-Surname"
BODIES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "no members": b"{}",
    "a text": f'"{CANARY}"'.encode(),
    "not a number": b'{"notice": NaN}',
    "infinity": b'{"a": 1e999999}',
    "many digits": b'{"a": ' + b"9" * 10_000 + b"}",
    "cut off": b'{"a": {"b": ',
    "deep lists": b"[" * 20_000,
    "deep objects": b'{"a":' * 20_000,
    "a mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "a NUL": b'{"a": "\\u0000", "b": "\x00"}',
    "half a surrogate": b'{"a": "\\ud800", "\\udfff": 1}',
    "a member twice": f'{{"{CANARY}": 1, "{CANARY}": 2}}'.encode(),
    "gzip": gzip.compress(b"{}" * 100_000),
    "XML": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "JOSE of rubbish": json.dumps(
        {"payload": "!!", "signatures": [{"protected": "e30", "signature": CANARY}]}
    ).encode(),
    "JOSE of nulls": b'{"payload": null, "signatures": null, "protected": [], "signature": {}}',
    "many members": ("{" + ",".join(f'"m{n}":{n}' for n in range(20_000)) + "}").encode(),
}
QUERIES = (
    "limit=-1",
    "limit=99999999999999999999999",
    "limit=1e3",
    "since=0001-01-01T00:00:00%2B14:00&until=9999-12-31T23:59:59-14:00",
    "before=9999-12-31T23:59:59.999999-14:00",
    "before=0001-01-01T00:00:00%2B14:00",
    "since=NaN&until=%00",
    "cursor=%00&after=%ff&from=-1&size=99999999999999999999&old_size=9223372036854775808",
    "from=99999999999999999999999&start=9223372036854775808&end=-9223372036854775809",
)
PLACES = (
    "%00",
    "%ff",
    "..%2f..%2fetc%2fpasswd",
    "x" * 4_000,
    "%F0%9F%92%A9",
    "-1",
    "99999999999999999999999",
    "%0a%0d",
)


@pytest_asyncio.fixture
async def hub(database: str, tmp_path: Path) -> AsyncIterator[HubApi]:
    async with open_hub_api(database, tmp_path) as api:
        yield api


async def test_rubbish_is_a_typed_problem_at_every_route(hub: HubApi) -> None:
    school = AgencyKit.make("school.oakfield")
    await hub.enrol(school)
    operations = [
        (method.upper(), path)
        for path, methods in hub.app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/v1/")
    ]
    assert len(operations) > 20
    faults = []

    async def ask(method: str, path: str, body: bytes | None, note: str) -> None:
        # Routes that anybody may call are called without a token: a token is checked before anything else is read.
        kit = None if path.startswith("/v1/enrolments") else school
        answer = await hub.call(method, path, kit, content=body, headers={"Content-Type": "application/json"})
        refused = answer.status_code >= 400
        if answer.status_code >= 500:
            faults.append((method, path, note, f"{answer.status_code}"))
        elif refused and answer.headers.get("content-type") != "application/problem+json":
            faults.append((method, path, note, "no problem document"))
        elif refused and (CANARY in answer.text or len(answer.content) > 2_000):
            faults.append((method, path, note, "repeats what was sent"))

    for method, path in operations:
        plain = re.sub(r"\{[^}]+\}", "x", path)
        if method in {"POST", "PUT", "PATCH"}:
            for note, body in BODIES.items():
                await ask(method, plain, body, note)
        else:
            for query in QUERIES:
                await ask(method, f"{plain}?{query}", None, query)
        for place in PLACES if "{" in path else ():
            await ask(method, re.sub(r"\{[^}]+\}", place, path), b"{}" if method == "POST" else None, "path")
    assert faults == []
    assert (await hub.call("GET", "/v1/directory", school)).status_code == 200
