"""The witness: it cosigns what grew, stops on what is proven, and goes on trying on what is not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from adapters.gateway.agency import AgencyGateway
from adapters.gateway.incoming.inbox_recalls import InboxRecalls
from adapters.gateway.wiring import build_gateway
from adapters.gateway.witnessing.log_reader import LogUnclear
from adapters.gateway.witnessing.log_watch import LogWatch
from adapters.gateway.witnessing.witnessed_deliveries import WitnessedDeliveries
from deploy.local.pki import Pki
from schemas.checkpoint import Checkpoint, read_checkpoint, write_verifier
from schemas.directory import HubKeys
from schemas.errors import DependencyUnavailable
from schemas.keys import public_part
from schemas.log_state import find_fork, read_log_state
from schemas.witnesses import find_cosigners, has_quorum, read_witnesses
from tests.support.deliveries import ORIGIN as SAMPLE_ORIGIN
from tests.support.deliveries import seeded_log_jwk
from tests.support.envelopes import NOW
from tests.support.gateways import write_gateway
from tests.support.log_server import ORIGIN, LoggingHub, ServedLog, make_logging_hub
from tests.support.receiving import DELIVERY, make_delivery, make_incoming, make_receiving_half

POLICE, CSC = "police.marchshire", "csc.marchshire"


@pytest.fixture(scope="module")
def ca_pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    return Pki(tmp_path_factory.mktemp("pki")).ca_file.read_text()


class Site:
    """A gateway of two agencies, both witnesses, over a hub whose log a test can bend."""

    def __init__(self, folder: Path, hub: LoggingHub) -> None:
        self.hub = hub
        config = write_gateway(folder, hub, [POLICE, CSC])
        self.gateway = build_gateway(config, transport=hub.transport())
        self.tokens = {agency: (folder / agency / "token").read_text() for agency in (POLICE, CSC)}

    def __getitem__(self, agency: str) -> AgencyGateway:
        return self.gateway.agencies[agency]

    async def start(self) -> "Site":
        for agency in (POLICE, CSC):
            await self[agency].keeper.refresh()
        return self

    async def look(self, *agencies: str) -> None:
        for agency in agencies or (POLICE, CSC):
            await self[agency].witness.look()

    async def call(self, method: str, path: str, agency: str | None = POLICE) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[agency]}"} if agency else {}
        transport = httpx.ASGITransport(app=self.gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=headers)


@pytest.fixture
async def site(tmp_path: Path, ca_pem: str) -> Site:
    return await Site(tmp_path, make_logging_hub(ca_pem, POLICE, CSC, quorum=2)).start()


async def test_witnesses_cosign_what_grew_until_a_quorum_covers_it(site: Site) -> None:
    await site.look()
    site.hub.log.grow(300)
    await site.look()
    await site.look()
    size = len(site.hub.log.entries)
    note = site.hub.log.cosigned(size)
    assert set(find_cosigners(note, read_witnesses(site.hub.directory()))) == {POLICE, CSC}
    assert note.count("— police.marchshire ") == 2, "Ed25519 and ML-DSA-44"
    assert has_quorum(note, site.hub.directory())
    for agency in (POLICE, CSC):
        seen = site[agency].witness.watch.describe()
        assert (seen["state"], seen["size"], seen["witnessed_size"], seen["entries_read"]) == ("ok", size, size, size)
    state = read_log_state(site[POLICE].config.log_state_path.read_bytes())
    assert [checkpoint.size for checkpoint, _ in state.verified()] == [5, size]
    assert (await site.call("GET", "/healthz", None)).json() == {"status": "ok"}


def fork(log: ServedLog, at: int, then: int) -> ServedLog:
    """Return a log under the same key that tells another story from entry ``at`` on."""
    other = ServedLog(list(log.entries[:at]), log.jwk)
    other.grow(then - at, other="story")
    return other


@pytest.mark.parametrize("then", [300, 301, 700])
async def test_a_fork_is_proven_at_once_and_stops_sending(site: Site, then: int) -> None:
    site.hub.log.grow(295)
    await site.look(POLICE)
    site.hub.log = fork(site.hub.log, 7, then)
    await site.look(POLICE)
    assert site[POLICE].witness.watch.find_stop() == "log-fork"
    assert not await site[POLICE].sender.send_next()
    health = (await site.call("GET", "/healthz", None)).json()
    assert (health["status"], health["agencies"]) == ("stopped", {POLICE: "log-fork"})
    for path in ("/log", "/referrals"):
        assert "use the telephone" in (await site.call("GET", path)).text
    assert site[CSC].witness.watch.find_stop() is None
    before = len(site.hub.requests)
    await site.look(POLICE)
    assert len(site.hub.requests) == before, "a stopped witness cosigns nothing"


async def test_the_stop_survives_a_restart_and_ends_with_a_persons_word(site: Site) -> None:
    site.hub.log.grow(5)
    await site.look(POLICE)
    site.hub.log = fork(site.hub.log, 3, 10)
    await site.look(POLICE)
    assert LogWatch(site[POLICE].store).find_stop() == "log-fork"
    evidence = read_log_state((await site.call("GET", "/log/state")).content)
    assert find_fork([evidence]) is not None, "one agency's own evidence proves it"
    assert (await site.call("POST", "/log/resume?by=duty-manager")).json() == {"resumed": True}
    assert (await site.call("POST", "/log/resume?by=duty-manager")).json() == {"resumed": False}
    await site.look(POLICE)
    assert (await site.call("GET", "/log")).json()["state"] == "ok"
    assert find_fork([read_log_state((await site.call("GET", "/log/state")).content)]) is not None


async def test_a_log_that_went_back_stops_sending_after_it_insisted(site: Site) -> None:
    site.hub.log.grow(50)
    await site.look(POLICE)
    del site.hub.log.entries[20:]
    for _ in range(2):
        await site.look(POLICE)
        assert site[POLICE].witness.watch.find_stop() is None
    await site.look(POLICE)
    assert site[POLICE].witness.watch.find_stop() == "log-went-back"


async def test_what_cannot_be_proven_is_tried_again_and_a_lagging_server_is_forgiven(site: Site) -> None:
    await site.look(POLICE)
    site.hub.log.grow(20)
    site.hub.log.missing = ("consistency", "tile")
    with pytest.raises(LogUnclear):
        await site.look(POLICE)
    site.hub.log.missing = ("consistency",)
    await site.look(POLICE)
    assert site[POLICE].witness.watch.newest().checkpoint.size == 25  # type: ignore[union-attr]
    site.hub.down = True
    with pytest.raises(DependencyUnavailable):
        await site.look(POLICE)
    assert site[POLICE].witness.watch.find_stop() is None


async def test_a_forked_log_shown_to_two_witnesses_is_caught_when_they_compare_notes(site: Site) -> None:
    truth = site.hub.log
    truth.grow(10)
    story = fork(truth, 12, 15)
    for size in (15, 20, 30):
        for agency, log in ((POLICE, truth), (CSC, story)):
            log.grow(size - len(log.entries))
            site.hub.log = log
            await site.look(agency)
            assert site[agency].witness.watch.describe()["state"] == "ok", "alone, neither can see it"
    states = [read_log_state(site[agency].config.log_state_path.read_bytes()) for agency in (POLICE, CSC)]
    assert [find_fork([state]) for state in states] == [None, None]
    found = find_fork(states)
    assert found is not None
    assert read_checkpoint(found.first).size == read_checkpoint(found.second).size == found.size == 15
    assert truth.witnessed == story.witnessed == 0, "on a fork no quorum comes together"


async def test_what_was_done_in_our_name_without_us_raises_an_alarm_and_does_not_stop(site: Site) -> None:
    own = next(iter(site[POLICE].parts.keystore.encryption_private_jwks(datetime.now(UTC))))
    later = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    site.hub.log.grow(1, "key", agency=POLICE, kid=own, not_before=later, not_after=later)
    site.hub.log.grow(1, "key", agency=CSC, kid="theirs", not_before=later, not_after=later)
    await site.look(POLICE)
    assert site[POLICE].witness.watch.describe()["alarms"] == []
    site.hub.log.grow(1, "key", agency=POLICE, kid="not-ours", not_before=later, not_after=later)
    site.hub.log.grow(1, "revocation", agency=POLICE, thumbprint=None)
    await site.look(POLICE)
    seen = site[POLICE].witness.watch.describe()
    assert [alarm["code"] for alarm in seen["alarms"]] == ["foreign-key-in-our-name", "revoked-in-our-name"]
    assert seen["state"] == "alarm"
    assert site[POLICE].witness.watch.find_stop() is None


def test_deliveries_are_unwitnessed_until_a_quorum_covers_them(tmp_path: Path) -> None:
    import asyncio

    half = make_receiving_half(tmp_path)
    asyncio.run(half.reader.take_in(make_incoming(make_delivery())))
    deliveries = WitnessedDeliveries(half.store)
    hub = HubKeys(log_origin=SAMPLE_ORIGIN, log_verifier=write_verifier(SAMPLE_ORIGIN, public_part(seeded_log_jwk())))
    deliveries.note_new(hub, NOW)
    assert half.inbox.read(DELIVERY, None).received.witnessed is False
    assert deliveries.list_coverable(Checkpoint(SAMPLE_ORIGIN, 0, bytes(32))) == []
    (waiting,) = deliveries.list_coverable(Checkpoint(SAMPLE_ORIGIN, 1 << 40, bytes(32)))
    assert deliveries.count_late(NOW + timedelta(minutes=1)) == 1
    assert deliveries.count_late(NOW - timedelta(minutes=1)) == 0
    deliveries.mark_witnessed(Checkpoint(SAMPLE_ORIGIN, waiting.size, bytes(32)), NOW)
    assert half.inbox.read(DELIVERY, None).received.witnessed is False, "another root"
    deliveries.mark_witnessed(waiting, NOW)
    assert half.inbox.read(DELIVERY, None).received.witnessed is True
    assert deliveries.count_late(NOW + timedelta(days=1)) == 0


async def test_a_delivery_that_was_deleted_after_its_recall_does_not_stop_the_witness(tmp_path: Path) -> None:
    half = make_receiving_half(tmp_path)
    await half.reader.take_in(make_incoming(make_delivery()))
    recalls = InboxRecalls(half.store)
    recalls.mark_recalled(DELIVERY, "{}")
    recalls.erase_content(DELIVERY, NOW)
    hub = HubKeys(log_origin=SAMPLE_ORIGIN, log_verifier=write_verifier(SAMPLE_ORIGIN, public_part(seeded_log_jwk())))
    deliveries = WitnessedDeliveries(half.store)
    deliveries.note_new(hub, NOW)
    assert deliveries.count_late(NOW + timedelta(days=1)) == 0, "nothing waits for ever"
    assert half.inbox_store.note_lost(DELIVERY, hub) is False


async def test_late_witnesses_raise_an_alarm_that_ends_by_itself(site: Site) -> None:
    watch = site[POLICE].witness.watch
    await site.look(POLICE)
    old = datetime.now(UTC) - timedelta(hours=1)
    with site[POLICE].store.transaction() as db:
        db.execute("UPDATE log_seen SET seen_at = ?", (old.isoformat(),))
    await site.look(POLICE)
    assert [alarm["code"] for alarm in watch.describe()["alarms"]] == ["log-silent"]
    site.hub.log.grow(1)
    await site.look(POLICE)
    assert watch.describe()["alarms"] == []
    assert ORIGIN in watch.newest().note  # type: ignore[union-attr]
