"""A hub that lies, and an enrolled agency that means harm, on a real RabbitMQ: real gateways refuse each by name, raise their alarm, and go on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.canonical import encode_base64url
from schemas.codes import ReceiptState
from tests.integration.test_gateway_receive import Station, list_folders, station, wait_until
from tests.integration.test_gateway_send import SIBLINGS, hub, running_gateway, take_from_intake, wait_for_state
from tests.support.deliveries import decide, log_and_deliver
from tests.support.gateways import StubHub
from tests.support.hostile import CASES, deliver_hostile
from tests.support.receiving import DELIVERY, make_delivery, seal_sample
from tests.support.servers import RabbitVhost
from tests.unit.adapters.gateway.incoming import test_opening as forging
from tests.unit.adapters.gateway.outgoing.test_sender import (
    add_ghost,
    drop_recipient,
    lie_in_plan,
    swap_recipient,
    widen,
)

__all__ = ["hub", "station"]

SECTIONS = ("section-00000000000001", "section-00000000000003")


def forge(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a delivery that the hub altered after it was logged, without touching what the sender signed."""
    members = json.loads(make_delivery())
    change(members)
    return json.dumps(members).encode()


def widen_decision(members: dict[str, Any]) -> None:
    """Claim that more was released than the log holds."""
    event = decide(seal_sample(), DELIVERY, (*SECTIONS, "section-00000000000005"))
    members["decision"]["event"] = encode_base64url(event.to_bytes())


def deliver_to_another() -> bytes:
    """Replay the school's own delivery, rightly logged, into social care's queue."""
    verified = seal_sample()
    return log_and_deliver(verified, decide(verified, "delivery-00000000dsl01", ("section-00000000000001",)))


def own_log() -> bytes:
    """Log the decision in a log of the hub's own making, which the directory does not name."""
    verified = seal_sample()
    return log_and_deliver(verified, decide(verified, DELIVERY, SECTIONS), log_name="another")


def own_key() -> bytes:
    """Seal the keyring of somebody else's delivery into this one: a key that the sender did not choose for us."""
    return forge(forging.take_other_keyring)


LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a section dropped": (lambda: forge(forging.drop_section), "delivery-tampered"),
    "two sections swapped": (lambda: forge(forging.swap_sections), "delivery-tampered"),
    "a section added": (lambda: forge(forging.add_section), "delivery-tampered"),
    "an opening forged": (lambda: forge(forging.forge_opening), "delivery-tampered"),
    "no keyring": (lambda: forge(forging.drop_keyring), "delivery-tampered"),
    "another's keyring": (own_key, "delivery-tampered"),
    "a wider decision": (lambda: forge(widen_decision), "proof-invalid"),
    "another's delivery": (deliver_to_another, "delivery-tampered"),
    "another log": (own_log, "proof-invalid"),
}


@pytest.mark.timeout(120)
async def test_a_recipient_refuses_each_lie_by_name_and_takes_in_what_is_honest(station: Station) -> None:
    """The test holds the hub's place in RabbitMQ and its log key; it has no agency's keys."""
    bodies = {name: make() for name, (make, _) in LIES.items()}
    await station.hand_out(*bodies.values(), make_delivery())
    async with station.running():
        await wait_until(lambda: station.half.steps.count("incoming_acked") == len(bodies) + 1, 40)
        await wait_until(lambda: list_folders(station))
        (accepted,) = await station.take_receipts(1)
    kept = {station.half.quarantine.read_body(m.digest): m.code for m in station.half.quarantine.list_messages()}
    assert {name: kept.get(body) for name, body in bodies.items()} == {n: code for n, (_, code) in LIES.items()}
    assert accepted.state is ReceiptState.ACCEPTED, "the lies gave nobody a receipt, and the honest delivery one"
    assert len(list_folders(station)) == 1


@pytest.mark.timeout(180)
async def test_hostile_content_of_an_enrolled_agency_ends_in_a_refusal_and_stops_nothing(station: Station) -> None:
    bodies = {name: deliver_hostile(number, hostile) for number, (name, hostile) in enumerate(CASES.items(), 1)}
    await station.hand_out(*bodies.values(), make_delivery())
    taken = [name for name, hostile in CASES.items() if hostile.code is None]
    async with station.running():
        await wait_until(lambda: station.half.steps.count("incoming_acked") == len(bodies) + 1, 90)
        refusals = sum(hostile.code == "cannot-open" for hostile in CASES.values())
        receipts = await station.take_receipts(refusals + len(taken) + 1)
        # The honest one and all that merely reads oddly reach the folder: nothing that came before held the outputs up.
        await wait_until(lambda: len(list_folders(station)) == len(taken) + 1, 60)
    kept = {station.half.quarantine.read_body(m.digest): m for m in station.half.quarantine.list_messages()}
    codes = {name: kept[body].code if body in kept else None for name, body in bodies.items()}
    assert codes == {name: hostile.code for name, hostile in CASES.items()}
    states = [receipt.state for receipt in receipts]
    assert states.count(ReceiptState.REFUSED) == refusals, "its sender is told that it does not open"
    assert {r.reason_code for r in receipts if r.state is ReceiptState.REFUSED} == {"cannot_open"}


@pytest.mark.timeout(120)
async def test_a_sender_refuses_each_lie_by_name_and_nothing_leaves(
    hub: StubHub, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    document = SIBLINGS.read_bytes()
    async with running_gateway(hub, rabbit_vhost, tmp_path) as (_, client):

        async def send(number: int) -> str:
            other = document.replace(b"MRC-PPN-2026-0041877", b"MRC-PPN-2026-00418%02d" % number)
            headers = {"Content-Type": "application/json"}
            answer = await client.post("/referrals", content=other, headers=headers)
            assert answer.status_code == 202, answer.text
            return str(answer.json()["referral_id"])

        for number, lie in enumerate((add_ghost, swap_recipient, drop_recipient, widen)):
            hub.lie = lie_in_plan(lie)
            described = await wait_for_state(client, await send(number), "held")
            assert described["alarm"] == "plan-too-wide", lie.__name__
        hub.lie = lambda _path, body: body
        await wait_for_state(client, await send(9), "published")
        assert len(await take_from_intake(rabbit_vhost)) == 1, "only the honest plan's referral left"
