"""Witnesses and a new epoch: they follow what the authority signed, and nothing excuses a change of what was kept."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.gateway.agency import AgencyGateway
from adapters.gateway.wiring import build_gateway
from adapters.gateway.witnessing.log_reader import LogUnclear
from deploy.local.pki import Pki
from schemas.canonical import canonical_bytes
from schemas.checkpoint import write_verifier
from schemas.errors import SignatureInvalid
from schemas.keys import public_part
from schemas.log_epochs import begin_epoch, list_epoch_members
from schemas.log_state import LogState, read_log_state
from tests.support.gateways import write_gateway
from tests.support.log_server import LoggingHub, ServedLog, make_logging_hub

POLICE = "police.marchshire"
NEXT = "log.example.org/test/2"
KEPT = 20


@pytest.fixture(scope="module")
def ca_pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    return Pki(tmp_path_factory.mktemp("pki")).ca_file.read_text()


@pytest.fixture
async def site(tmp_path: Path, ca_pem: str) -> tuple[LoggingHub, AgencyGateway]:
    """A witness that has seen 20 and then 50 entries."""
    hub = make_logging_hub(ca_pem, POLICE, quorum=1)
    gateway = build_gateway(write_gateway(tmp_path, hub, [POLICE]), transport=hub.transport()).agencies[POLICE]
    await gateway.keeper.refresh()
    hub.log.grow(KEPT - len(hub.log.entries))
    await gateway.witness.look()
    hub.log.grow(50 - KEPT)
    await gateway.witness.look()
    return hub, gateway


def lose_and_open(hub: LoggingHub, *, change: Callable[[list[bytes]], None] = lambda _: None, shown: int = 50) -> None:
    """Cut the log to what was kept, ``change`` that, and open the next epoch as the authority signs it after a witness ``shown`` so many."""
    old = hub.log
    first = hub.directory().hub
    witness = LogState("csc.marchshire", first.log_verifier, (old.note(shown),))
    new = ServedLog(entries=old.entries[:KEPT], origin=NEXT)
    verifier = write_verifier(NEXT, public_part(new.jwk))
    hub.keys = begin_epoch(first, old.note(KEPT), [witness], log_origin=NEXT, log_verifier=verifier)
    change(new.entries)
    members = {**list_epoch_members(hub.keys), "event": "epoch", "version": 1, "at": "2026-11-26T10:00:00+00:00"}
    new.entries.append(canonical_bytes(members))
    new.grow(7)
    hub.log = new
    hub.version += 1


async def test_a_witness_follows_what_the_authority_signed_and_keeps_the_old_heads(
    site: tuple[LoggingHub, AgencyGateway],
) -> None:
    hub, gateway = site
    lose_and_open(hub)
    await gateway.keeper.refresh()
    await gateway.witness.look()
    watch = gateway.witness.watch
    newest = watch.newest()
    assert (watch.epoch(), watch.find_stop()) == (2, None)
    assert newest is not None
    assert (newest.checkpoint.origin, newest.checkpoint.size) == (NEXT, KEPT + 8)
    assert watch.reading().size == KEPT + 8
    state = gateway.config.log_state_path
    old = read_log_state(state.with_name(f"{state.stem}.epoch-1{state.suffix}").read_bytes())
    assert [checkpoint.size for checkpoint, _ in old.verified()] == [KEPT, 50]
    assert watch.describe()["alarms"] == []


async def test_a_stop_for_the_loss_itself_ends_with_the_epoch(site: tuple[LoggingHub, AgencyGateway]) -> None:
    hub, gateway = site
    entries = list(hub.log.entries)
    del hub.log.entries[KEPT - 5 :]
    for _ in range(3):
        await gateway.witness.look()
    assert gateway.witness.watch.find_stop() == "log-went-back"
    hub.log.entries = entries
    lose_and_open(hub)
    await gateway.keeper.refresh()
    await gateway.witness.look()
    assert gateway.witness.watch.find_stop() is None
    assert gateway.witness.watch.epoch() == 2


async def test_not_even_the_authority_excuses_a_change_of_what_was_kept(site: tuple[LoggingHub, AgencyGateway]) -> None:
    hub, gateway = site

    def rewrite(entries: list[bytes]) -> None:
        entries[3] = canonical_bytes({"event": "heartbeat", "size": 99})

    lose_and_open(hub, change=rewrite)
    await gateway.keeper.refresh()
    await gateway.witness.look()
    assert gateway.witness.watch.find_stop() == "epoch-rewrites-history"
    assert gateway.witness.watch.epoch() == 1


async def test_a_witness_that_saw_more_than_the_officers_were_shown_says_so_and_goes_on(
    site: tuple[LoggingHub, AgencyGateway],
) -> None:
    hub, gateway = site
    lose_and_open(hub, shown=30)
    await gateway.keeper.refresh()
    await gateway.witness.look()
    alarms = gateway.witness.watch.describe()["alarms"]
    assert [(alarm["code"], alarm["stops"]) for alarm in alarms] == [("epoch-forgets-what-we-saw", False)]
    assert gateway.witness.watch.epoch() == 2


async def test_without_the_authoritys_word_a_new_key_or_another_first_entry_is_no_epoch(
    site: tuple[LoggingHub, AgencyGateway],
) -> None:
    hub, gateway = site
    lose_and_open(hub)
    with pytest.raises(SignatureInvalid):  # the directory at hand names the old key
        await gateway.witness.look()
    await gateway.keeper.refresh()
    hub.log.entries[KEPT] = canonical_bytes({"event": "heartbeat", "size": KEPT})
    with pytest.raises(LogUnclear):
        await gateway.witness.look()
    assert gateway.witness.watch.epoch() == 1
