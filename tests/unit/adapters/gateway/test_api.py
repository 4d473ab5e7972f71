"""The local API: who may use it, what it takes in, and how it says no."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from adapters.gateway.outgoing.outbox_model import OutboxState
from adapters.gateway.service import Gateway
from adapters.gateway.wiring import build_gateway
from adapters.mapping.limits import MAX_DOCUMENT_BYTES
from schemas.errors import ConfigInvalid, DependencyUnavailable
from tests.support.gateways import SAMPLES, StubHub, write_gateway
from tests.support.sample_files import load_expected

POLICE, SCHOOL, TRUST = "police.marchshire", "school.oakfield", "health.marchshire-ft"
EXPECTED = load_expected()
SENDERS = {"ppn": POLICE, "pole": POLICE, "missing": POLICE, "encompass": POLICE, "concern": SCHOOL, "msg": TRUST}
SIBLINGS = SAMPLES / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
JSON = {"Content-Type": "application/json"}


class World:
    """A hosted gateway of three agencies, and a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
        self.hub = StubHub.make("", lambda: self.now)
        self.hub.ca_pem = CA_PEM
        config = write_gateway(folder, self.hub, [POLICE, SCHOOL, TRUST])
        self.gateway: Gateway = build_gateway(config, clock=lambda: self.now, transport=self.hub.transport())
        body = self.hub.directory_body()
        for agency in self.gateway.agencies.values():
            agency.keeper.accept(body)
        self.tokens = {agency: (folder / agency / "token").read_text() for agency in self.gateway.agencies}

    def client(self, agency: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[agency]}"} if agency else {}
        transport = httpx.ASGITransport(app=self.gateway.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=headers)

    async def post(
        self, agency: str, file: Path | bytes, headers: dict[str, str] = JSON, **options: Any
    ) -> httpx.Response:
        body = file if isinstance(file, bytes) else _read(file)
        async with self.client(agency) as client:
            return await client.post("/referrals", content=body, headers=headers, **options)


def _read(file: Path) -> bytes:
    """Read a sample; the one of 5 MB is made where the repository does not carry it."""
    if file.exists() or file.name != "ppn-narrative-5mb.json":
        return file.read_bytes()
    document = json.loads(SIBLINGS.read_bytes())
    document["occ"]["mo"] = "SYNTHETIC. " * 480_000
    return json.dumps(document).encode()


def _make_ca() -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = (
        builder.serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start.replace(year=2090))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


CA_PEM = _make_ca()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for many refusals: each test counts what it adds."""
    world = World(tmp_path_factory.mktemp("shared"))
    yield world
    asyncio.run(world.gateway.close())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.gateway.close()


def count_kept(world: World, agency: str) -> tuple[int, int]:
    """Return how many referrals and documents an agency's outbox holds."""
    gateway = world.gateway.agencies[agency]
    [row] = gateway.store.query("SELECT count(*) AS n FROM document")
    return len(gateway.outbox.list_referrals()), row["n"]


@pytest.mark.parametrize("path", ["/referrals", "/referrals/x", "/recipients"])
async def test_without_a_token_or_with_a_wrong_one_nothing_is_shown(shared: World, path: str) -> None:
    async with shared.client(None) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            answer = await client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"


async def test_metrics_say_what_waits_and_for_how_long_and_nothing_else(world: World) -> None:
    world.now = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
    posted = await world.post(POLICE, SIBLINGS)
    async with world.client(None) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert samples[f'safelane_gateway_waiting_referrals{{agency="{POLICE}",state="received"}}'] == "1.0"
    assert samples[f'safelane_gateway_waiting_referrals{{agency="{SCHOOL}",state="received"}}'] == "0.0"
    assert 0 <= float(samples[f'safelane_gateway_oldest_waiting_seconds{{agency="{POLICE}"}}']) < 60
    assert samples[f'safelane_gateway_oldest_waiting_seconds{{agency="{SCHOOL}"}}'] == "0.0"
    assert samples[f'safelane_gateway_sending_stopped{{agency="{TRUST}"}}'] == "0.0"
    assert posted.json()["referral_id"] not in answer.text
    outbox = world.gateway.agencies[POLICE].outbox
    (waiting,) = outbox.list_referrals()
    outbox._store.query("UPDATE referral SET state = 'held' WHERE referral_id = ?", (waiting.referral_id,))
    async with world.client(None) as client:
        text = (await client.get("/metrics")).text
    assert f'safelane_gateway_waiting_referrals{{agency="{POLICE}",state="held"}} 1.0' in text
    assert f'safelane_gateway_oldest_waiting_seconds{{agency="{POLICE}"}} 0.0' in text, "it waits for a person"


async def test_in_hosted_mode_an_agency_sees_only_its_own(world: World) -> None:
    world.now = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
    posted = await world.post(POLICE, SIBLINGS)
    referral_id = posted.json()["referral_id"]
    async with world.client(SCHOOL) as client:
        assert (await client.get(f"/referrals/{referral_id}")).status_code == 404
        assert (await client.get("/referrals")).json() == {"alarm": None, "referrals": []}
        assert (await client.post(f"/referrals/{referral_id}/release")).status_code == 404
    async with world.client(POLICE) as client:
        assert (await client.get(f"/referrals/{referral_id}")).json()["state"] == "received"


async def test_a_record_of_another_agency_is_refused(world: World) -> None:
    world.now = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
    answer = await world.post(SCHOOL, SIBLINGS)
    assert answer.status_code == 422
    assert world.gateway.agencies[SCHOOL].outbox.list_referrals() == []


@pytest.mark.parametrize("entry", EXPECTED["bad"], ids=lambda e: Path(e["file"]).name)
async def test_bad_input_is_refused_by_field_and_sends_nothing(shared: World, entry: dict[str, Any]) -> None:
    file = SAMPLES / entry["file"]
    shared.now = datetime.fromisoformat(entry["received_at"])
    sender = SENDERS[file.name.split("-")[0]]
    before = count_kept(shared, sender)
    media = {".xml": "application/xml", ".csv": "text/csv"}.get(file.suffix, "application/json")
    answer = await shared.post(sender, file, {"Content-Type": media})
    good = entry.get("accepted_records", [])
    assert answer.status_code == (202 if good else 422)
    body = answer.json()
    [fault] = [f for f in body["errors"] if f["number"] == entry["record"]]
    assert fault["field"].endswith(entry["field"])
    referrals, documents = count_kept(shared, sender)
    assert referrals - before[0] == len(good)
    assert documents - before[1] == 1, "the input is kept for its sender to correct"


async def test_no_error_repeats_what_was_sent(world: World, tmp_path: Path) -> None:
    world.now = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    for file in sorted((SAMPLES / "bad").iterdir()):
        answer = await world.post(SENDERS[file.name.split("-")[0]], file)
        for word in ("Test", "SYNTHETIC", "ZZ99", "999 "):
            assert word not in answer.text


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "(document)"),
        (SIBLINGS.read_bytes().replace(b"{", b'{"q": Infinity,', 1), "q"),
        (SIBLINGS.read_bytes().replace(b"{", b'{"q": "\\ud800",', 1), "q"),
        (SIBLINGS.read_bytes().replace(b"{", b'{"q": "\\u0000",', 1), "q"),
        (SIBLINGS.read_bytes().replace(b"{", b'{"occ": 1,', 1), "occ"),
        (b"\xef\xbb\xbf" + SIBLINGS.read_bytes(), "(document)"),
        (SIBLINGS.read_text().encode("utf-16"), "(document)"),
        (gzip.compress(SIBLINGS.read_bytes()), "Content-Encoding"),
        (SIBLINGS.read_bytes().replace(b"{", b'{"q": ' + b"[" * 100_000, 1), "(document)"),
        (SIBLINGS.read_bytes() + b"{}", "(document)"),
    ],
    ids=["empty", "infinity", "surrogate", "nul", "twice", "mark", "utf-16", "gzip", "deep", "trailing"],
)
async def test_rubbish_is_refused_by_field(shared: World, body: bytes, field: str) -> None:
    headers = JSON | ({"Content-Encoding": "gzip"} if body.startswith(b"\x1f") else {})
    before, _ = count_kept(shared, POLICE)
    answer = await shared.post(POLICE, body, headers)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code in {413, 422}
    assert answer.json()["field"] == field
    assert count_kept(shared, POLICE)[0] == before


async def test_instants_at_the_ends_of_the_calendar_are_refused_by_field(world: World) -> None:
    async with world.client(POLICE) as client:
        for instant in ("0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00"):
            answer = await client.get(f"/inbox?since={instant}")
            assert (answer.status_code, answer.json()["field"]) == (422, "query.since")


async def test_the_same_key_with_another_document_is_a_conflict(world: World) -> None:
    world.now = datetime(2026, 11, 19, 4, 0, tzinfo=UTC)
    headers = JSON | {"Idempotency-Key": "k"}
    assert (await world.post(POLICE, SIBLINGS, headers)).status_code == 202
    other = await world.post(POLICE, SAMPLES / "police-ppn-json" / "ppn-0041960-s17-refused.json", headers)
    assert other.status_code == 409
    assert len(world.gateway.agencies[POLICE].outbox.list_referrals()) == 1


async def test_a_corrected_document_may_use_the_key_of_its_refused_one(world: World) -> None:
    headers = JSON | {"Idempotency-Key": "k"}
    assert (await world.post(POLICE, SAMPLES / "bad" / "ppn-empty-reason.json", headers)).status_code == 422
    assert (await world.post(POLICE, SIBLINGS, headers)).status_code == 202


@pytest.mark.parametrize(
    ("header", "value", "detail"),
    [
        ("Content-Encoding", "gzip", "compressed documents are not taken: send it as it is"),
        ("Idempotency-Key", "k" * 201, "must be at most 200 characters"),
    ],
)
async def test_a_header_that_is_not_taken_is_named(shared: World, header: str, value: str, detail: str) -> None:
    answer = await shared.post(POLICE, SIBLINGS, JSON | {header: value})
    assert answer.status_code == 422
    assert (answer.json()["field"].lower(), answer.json()["detail"]) == (header.lower(), detail)


async def test_the_mapping_can_be_named(world: World) -> None:
    corvid = next(m for m in world.gateway.agencies[POLICE].intake.mapping_ids if "corvid" in m)
    assert (await world.post(POLICE, SIBLINGS, params={"mapping": corvid})).status_code == 202
    headers = {"Content-Type": f'application/json; mapping="{corvid}"'}
    assert (await world.post(POLICE, SIBLINGS, headers)).status_code == 202
    assert (await world.post(POLICE, SIBLINGS, params={"mapping": "nobody"})).status_code == 422


async def test_too_much_is_refused_before_it_is_read(world: World) -> None:
    object.__setattr__(world.gateway.agencies[POLICE].parts.gateway, "max_document_bytes", 1000)
    answer = await world.post(POLICE, SIBLINGS)
    assert answer.status_code == 413


async def test_a_format_that_nobody_knows_is_answered_with_those_that_are(shared: World) -> None:
    answer = await shared.post(POLICE, b'{"a": 1}')
    assert answer.status_code == 422
    assert "police-ppn-json" in answer.json()["detail"] or "corvid" in answer.json()["detail"]
    assert "mapping=" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not-found"), ("DELETE", "/referrals", 405, "method-not-allowed")],
)
async def test_a_wrong_path_or_method_says_where_the_right_ones_are(
    shared: World, method: str, path: str, status: int, code: str
) -> None:
    async with shared.client(POLICE) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "/openapi.json" in answer.json()["title"]
    assert path not in answer.text, "nothing of what was sent"
    assert ("Allow" in answer.headers) == (status == 405)


def test_no_gateway_reads_more_than_its_mappings_do(world: World) -> None:
    config = world.gateway.config
    with pytest.raises(ValidationError):
        type(config).model_validate(config.model_dump() | {"max_document_bytes": MAX_DOCUMENT_BYTES + 1})


async def test_without_a_directory_nothing_is_taken_in_and_the_sender_is_told_to_retry(tmp_path: Path) -> None:
    world = World(tmp_path)
    keeper = world.gateway.agencies[POLICE].parts.keeper
    keeper._known = None
    answer = await world.post(POLICE, SIBLINGS)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["retryable"] is True
    await world.gateway.close()


async def test_when_the_disk_is_full_it_is_not_taken_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise DependencyUnavailable("the gateway's store cannot be read or written")

    monkeypatch.setattr(world.gateway.agencies[POLICE].parts.outbox, "accept", fail)
    assert (await world.post(POLICE, SIBLINGS)).status_code == 503


async def test_an_unexpected_fault_shows_no_trace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise ZeroDivisionError("Canary-Surname")

    monkeypatch.setattr(world.gateway.agencies[POLICE].parts.outbox, "accept", fail)
    answer = await world.post(POLICE, SIBLINGS)
    assert answer.status_code == 500
    assert "Canary" not in answer.text
    assert "Zero" not in answer.text


async def test_a_held_referral_is_released_once(world: World) -> None:
    referral_id = (await world.post(POLICE, SIBLINGS)).json()["referral_id"]
    outbox = world.gateway.agencies[POLICE].outbox
    outbox.stop(referral_id, OutboxState.HELD, ConfigInvalid("x"), datetime.now(UTC))
    async with world.client(POLICE) as client:
        assert (await client.post(f"/referrals/{referral_id}/release")).json()["state"] == "received"
        assert (await client.post(f"/referrals/{referral_id}/release")).status_code == 409


async def test_two_agencies_with_one_token_are_refused(tmp_path: Path) -> None:
    hub = StubHub.make(CA_PEM, lambda: datetime.now(UTC))
    config = write_gateway(tmp_path, hub, [POLICE, SCHOOL])
    (tmp_path / SCHOOL / "token").write_text((tmp_path / POLICE / "token").read_text())
    with pytest.raises(ConfigInvalid, match="same local token"):
        build_gateway(config, transport=hub.transport(), clock=lambda: datetime.now(UTC))
