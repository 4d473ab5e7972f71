"""Consent, recall and requests for information from the command line: real gateways, RabbitMQ and hub between what two people type."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from typer.testing import CliRunner, Result

from deploy.cli import app
from schemas.objects import peek_object
from tests.integration.test_clocks import SetClock
from tests.integration.test_registers import SIBLINGS, SIBLINGS_AT, WELFARE, list_inbox
from tests.support.hub_world import CSC, HEALTH, POLICE, open_hub_world
from tests.support.living import Living, live
from tests.support.servers import RabbitVhost

EARLY_HELP = "earlyhelp.marchshire"
CHILDS_NUMBER = "999 520 0112"
SIBLINGS_NUMBER = "999 000 1375"
ANOTHERS_NUMBER = "999 123 4578"


@dataclass
class Desks:
    """Living gateways, and the command line of each agency's people beside them."""

    living: Living
    config: Path

    async def run(self, agency: str, *arguments: str, typed: str = "") -> Result:
        """Run ``safelane gateway`` in another thread: the gateway is served by this one's loop."""
        line = ["gateway", *arguments, "--config", str(self.config), "--agency", agency]
        return await asyncio.to_thread(CliRunner().invoke, app, line, input=typed)

    async def until(self, agency: str, *arguments: str, shows: str) -> str:
        """Run a command again until its output has ``shows``; return the output."""
        async with asyncio.timeout(25):
            while shows not in (result := await self.run(agency, *arguments)).output:
                assert result.exit_code == 0, (result.output, result.exception)
                await asyncio.sleep(0.2)
        return result.output


@asynccontextmanager
async def open_desks(
    database: str, rabbit: RabbitVhost, folder: Path, agencies: tuple[str, ...], clock: SetClock, **options: object
) -> AsyncIterator[Desks]:
    async with (
        open_hub_world(database, rabbit, folder / "hub", agencies=agencies) as world,
        live(world, folder / "gw", clock, **options) as living,
    ):
        config = folder / "gw" / "gateway.yaml"
        document = json.loads(config.read_text()) | {"listen_port": living.gateway.port}
        config.write_text(json.dumps(document))
        yield Desks(living, config)


def last_word(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output.split()[-1].rstrip(".")


async def test_consent_is_given_replaced_and_withdrawn_from_the_command_line(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    clock = SetClock(datetime(2026, 11, 17, 10, 6, 10, tzinfo=UTC))
    agencies = (POLICE, CSC, EARLY_HELP)
    async with open_desks(database, rabbit_vhost, tmp_path, agencies, clock, without=[EARLY_HELP]) as desks:
        world = desks.living.world
        sent = await desks.run(POLICE, "send", str(WELFARE))
        assert sent.exit_code == 0, (sent.output, sent.exception)
        referral_id = sent.output.split("record 1: ")[1].split()[0]
        (ticket,) = await world.receive(EARLY_HELP, 1)
        assert ticket.type == "ticket"

        clock.now += timedelta(hours=1)
        about = ("--referral", referral_id, "--person", "p-17")
        parent = (
            "--giver",
            "parent_pr_holder",
            "--capacity",
            "parental_responsibility",
            "--evidence",
            "birth_certificate",
        )
        given = await desks.run(POLICE, "consent", "give", *about, *parent, "--method", "in_person", "--days", "30")
        first = given.output.split("consent ")[1].split(":")[0]
        assert ": given, recorded as" in given.output, (given.output, given.exception)
        await world.wait_for("SELECT count(*) FROM consents", 1)
        again = await desks.run(POLICE, "consent", "give", *about, *parent, "--supersedes", first)
        second = again.output.split("consent ")[1].split(":")[0]
        await world.wait_for("SELECT count(*) FROM consents", 2)
        assert await world.owner.fetchval("SELECT count(*) FROM tickets WHERE collected_at IS NULL") == 1

        # Her own no beats her mother's yes; who says so for a child names the assessor.
        nobody = await desks.run(
            POLICE,
            "consent",
            "refuse",
            *about,
            "--giver",
            "child",
            "--capacity",
            "gillick",
            "--reason-code",
            "does_not_want",
        )
        assert nobody.exit_code == 1
        clock.now += timedelta(minutes=1)
        withdrawn = await desks.run(
            POLICE, "consent", "withdraw", second, "--person", "p-17", "--reason-code", "changed_mind"
        )
        assert ": withdrawn, recorded as" in withdrawn.output, (withdrawn.output, withdrawn.exception)
        again = await desks.run(
            POLICE, "consent", "withdraw", second, "--person", "p-17", "--reason-code", "changed_mind"
        )
        assert "is withdrawn already" in str(again.exception)
        await desks.until(POLICE, "told", shows="CONSENT_WITHDRAWN")
        status = await desks.until(POLICE, "status", referral_id, shows="withheld, D7")
        assert "csc.marchshire (csc, promote_welfare): delivered, D5" in status


async def test_a_recall_and_its_deletion_from_the_command_line(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    clock = SetClock(SIBLINGS_AT)
    async with open_desks(database, rabbit_vhost, tmp_path, (POLICE, CSC), clock) as desks:
        referral_id = await desks.living.send(POLICE, SIBLINGS)
        [listed] = await list_inbox(desks.living, CSC, 1)
        delivery_id = listed["delivery_id"]
        saying = ("receipt", delivery_id, "--person", "p-17", "--state")
        wrong = await desks.run(CSC, *saying, "refused", "--reason-code", "busy")
        assert "must be one of cannot_open" in str(wrong.exception)
        said = await desks.run(CSC, *saying, "refused", "--reason-code", "not_our_child")
        assert "refused (not_our_child) " in said.output, (said.output, said.exception)
        await desks.until(POLICE, "status", referral_id, shows="recipient-refused:not_our_child")
        early = await desks.run(CSC, "confirm-deletion", delivery_id)
        assert early.exit_code == 1
        assert "is not recalled by its sender" in str(early.exception)
        recalled = await desks.run(POLICE, "recall", referral_id, "--reason-code", "wrong_child")
        assert "Recalled as" in recalled.output, (recalled.output, recalled.exception)
        assert "1 recalled." in await desks.until(CSC, "told", shows="RECALLED")
        assert "deletion not confirmed yet" in (await desks.run(POLICE, "status", referral_id)).output
        [line] = (await desks.living.get(CSC, "/inbox"))["deliveries"]
        assert line["recalled"].startswith(f"{datetime.now(UTC):%Y-%m-}")
        assert line["deleted"] is None
        kept = await desks.run(CSC, "confirm-deletion", delivery_id, "--exception", "legal_hold")
        assert "Nothing is erased" in kept.output, (kept.output, kept.exception)
        await desks.until(POLICE, "status", referral_id, shows="kept for legal_hold")
        done = await desks.run(CSC, "confirm-deletion", delivery_id)
        assert "Confirmed as" in done.output, (done.output, done.exception)
        assert (await desks.living.get(CSC, f"/inbox/{delivery_id}"))["referral"]["sections"] == []
        await desks.until(POLICE, "status", referral_id, shows="deletion confirmed 20")
        [line] = (await desks.living.get(CSC, "/inbox"))["deliveries"]
        assert line["recalled"] < line["deleted"]
        assert (await desks.living.get(CSC, f"/inbox/{delivery_id}"))["delivery"] == line
        deliveries = {d["delivery_id"]: d for d in (await desks.living.referral(POLICE, referral_id))["deliveries"]}
        theirs = deliveries[delivery_id]
        assert (theirs["recalled"], theirs["kept_for"]) == (line["recalled"], None)


async def test_who_received_a_referral_asks_about_the_children_that_were_delivered_to_it(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    clock = SetClock(SIBLINGS_AT)
    async with open_desks(database, rabbit_vhost, tmp_path, (POLICE, CSC, HEALTH), clock) as desks:
        referral_id = await desks.living.send(POLICE, SIBLINGS)
        await list_inbox(desks.living, CSC, 1)
        asking = ("request", "ask", "--compartment", "C07", "--person", "p-17", "--task", "CA 1989 s.47",
                  "--purpose", "promote_welfare", "--to", HEALTH, "--referral")  # fmt: skip
        nothing = await desks.run(CSC, *asking, "AAAAAAAAAAAAAAAAAAAAAA")
        assert nothing.exit_code == 1
        assert "no referral that this agency sent or received" in str(nothing.exception)
        asked = last_word(await desks.run(CSC, *asking, referral_id))
        assert (await desks.living.get(CSC, "/inbox"))["deliveries"][0]["state"] == "accepted", "nobody has read it"
        await desks.until(HEALTH, "request", "list", shows=asked)
        same = await desks.run(HEALTH, "request", "check", asked, typed=f"{SIBLINGS_NUMBER}\n")
        assert "It is about this child." in same.output, (same.output, same.exception)
        await desks.run(POLICE, "recall", referral_id, "--reason-code", "wrong_child")
        await desks.until(CSC, "told", shows="RECALLED")
        recalled = await desks.run(CSC, *asking, referral_id)
        assert "is recalled by its sender" in str(recalled.exception)


async def test_a_request_is_asked_checked_refused_answered_and_clocked(
    database: str, rabbit_vhost: RabbitVhost, tmp_path: Path
) -> None:
    clock = SetClock(SIBLINGS_AT)
    async with open_desks(database, rabbit_vhost, tmp_path, (POLICE, CSC, HEALTH), clock) as desks:
        world = desks.living.world
        referral_id = await desks.living.send(POLICE, SIBLINGS)
        await list_inbox(desks.living, HEALTH, 1)
        asking = ("request", "ask", "--compartment", "C07", "--compartment", "C16", "--person", "p-17",
                  "--task", "CA 1989 s.47", "--purpose", "promote_welfare")  # fmt: skip
        by_referral = await desks.run(POLICE, *asking, "--to", HEALTH, "--referral", referral_id)
        first = last_word(by_referral)
        by_number = await desks.run(POLICE, *asking, "--to", HEALTH, "--nhs-number", typed=f"{CHILDS_NUMBER}\n")
        second = last_word(by_number)
        assert CHILDS_NUMBER.replace(" ", "") not in by_number.output

        # Policy decides whether one may ask: no agreement between these two lists this purpose.
        outside = await desks.run(POLICE, *asking[:-1], "school_support", "--to", HEALTH, "--referral", referral_id)
        assert outside.exit_code == 0
        await desks.until(POLICE, "request", "list", shows="the hub did not pass it on: not-permitted")
        nothing = await desks.run(POLICE, *asking, "--to", HEALTH)
        assert nothing.exit_code == 1  # about nobody

        listed = await desks.until(HEALTH, "request", "list", shows=second)
        assert first in listed
        assert f"waiting from {POLICE} (police), answer due 2026-11-23T17:00:00Z" in listed  # five working days
        assert "C07 C16 about 1 for promote_welfare, task CA 1989 s.47" in listed
        same = await desks.run(HEALTH, "request", "check", second, typed=f"{CHILDS_NUMBER}\n")
        assert "It is about this child." in same.output, (same.output, same.exception)
        other = await desks.run(HEALTH, "request", "check", second, typed=f"{ANOTHERS_NUMBER}\n")
        assert (other.exit_code, "It is not about this child." in other.output) == (1, True)
        mistyped = await desks.run(HEALTH, "request", "check", second, typed=f"{CHILDS_NUMBER[:-1]}3\n")
        assert "check digit" in str(mistyped.exception), "a token of a mistyped number would find nobody"

        # By the same token the partnership's people ask the hub who knew what: its file is theirs alone.
        file = tmp_path / "child.token"
        made = await desks.run(HEALTH, "token", str(file), "--person", "p-31", typed=f"{CHILDS_NUMBER}\n")
        assert "Written to" in made.output, (made.output, made.exception)
        assert file.stat().st_mode & 0o077 == 0
        asked = await world.owner.fetchval("SELECT body FROM signed_objects WHERE object_digest = $1", second)
        (known,) = peek_object(asked)["subject_tokens"]
        assert file.read_text() == f"nhs|{known['pepper_id']}|{known['value']}"

        refused = await desks.run(HEALTH, "request", "refuse", second, "--reason-code", "no_record", "--person", "p-31")
        assert "Refused as" in refused.output, (refused.output, refused.exception)
        twice = await desks.run(HEALTH, "request", "refuse", second, "--reason-code", "no_record", "--person", "p-31")
        assert "is refused already" in str(twice.exception)
        theirs = await desks.run(POLICE, "request", "refuse", second, "--reason-code", "no_record", "--person", "p-17")
        assert "was not asked of this agency" in str(theirs.exception)
        assert "refused by p-31: no_record" in await desks.until(POLICE, "request", "list", shows="refused by")
        await world.wait_for("SELECT count(*) FROM requests WHERE step = 'asked' AND state = 'met'", 1)

        # The other runs out: both are told; answering late is still an answer, and the breach stays a breach.
        clock.now = datetime(2026, 11, 23, 17, 0, 1, tzinfo=UTC)
        await desks.until(HEALTH, "told", shows="REQUEST_OVERDUE")
        await desks.until(POLICE, "told", shows="REQUEST_OVERDUE")
        assert f"{first}  OVERDUE waiting" in (await desks.run(HEALTH, "request", "list")).output
        reply = await desks.living.send(HEALTH, SIBLINGS.parents[1] / "health-fhir-json" / "msg-88207-unborn.json")
        await desks.until(HEALTH, "status", reply, shows="delivered")
        answered = await desks.run(HEALTH, "request", "answer", first, "--referral", reply, "--person", "p-31")
        assert "Answered as" in answered.output, (answered.output, answered.exception)
        await desks.until(POLICE, "request", "list", shows="answered by p-31 in message")
        assert await world.owner.fetchval("SELECT state FROM requests WHERE object_digest = $1", first) == "breached"
        bodies = await world.owner.fetch("SELECT body FROM signed_objects WHERE type = 'request'")
        assert len(bodies) == 4
        assert not any(CHILDS_NUMBER.replace(" ", "").encode() in row["body"] for row in bodies)
