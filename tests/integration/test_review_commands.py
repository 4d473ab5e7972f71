"""``safelane review`` against the hub's API over TLS: a person lists, claims, releases and refuses with their own key file."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from typer.testing import CliRunner, Result

from broker.api.settings import ApiSettings
from deploy.cli import app
from deploy.hub_programs import serve_api
from schemas.canonical import parse_object
from schemas.errors import IntegrityBroken, Rejected, SafelaneError
from schemas.keys import KeyUse, SigningKeys, public_part
from tests.support.hub_agency import open_as
from tests.support.hub_world import CSC, POLICE, SCHOOL, Draft, HubWorld, open_hub_world
from tests.support.reviewing import PASSPHRASE, make_approver, sign_addendum
from tests.support.servers import RabbitVhost


@dataclass
class Desk:
    """Where a person sits: their key file, passphrase file, trust file and the hub's URL."""

    options: tuple[str, ...]

    async def run(self, *arguments: str, group: str = "review") -> Result:
        """Run ``safelane review``, or another group, in another thread: the API is served by this one's loop."""
        return await asyncio.to_thread(CliRunner().invoke, app, [group, *arguments, *self.options])


@asynccontextmanager
async def serve(world: HubWorld, folder: Path) -> AsyncIterator[str]:
    """Serve the API over TLS; yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"https://localhost:{port}"
    credential = world.rabbit.stack.pki.issue_server("hub-api")
    settings = ApiSettings(
        public_url=url,
        listen_host="127.0.0.1",
        listen_port=port,
        certificate_file=credential.cert_file,
        key_file=credential.key_file,
    )
    listening = asyncio.Event()
    task = asyncio.create_task(
        serve_api(world.config.model_copy(update={"api": settings}), on_listening=lambda _url: listening.set())
    )
    try:
        await asyncio.wait_for(listening.wait(), 15)
        yield url
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def write_desk(folder: Path, world: HubWorld, url: str, person: str) -> Desk:
    trust = json.loads(world.config.trust_file.read_text())
    trust["ca_pem"] = world.rabbit.stack.pki.ca_file.read_text()
    (folder / "trust.json").write_text(json.dumps(trust))
    passphrase = folder / "passphrase"
    passphrase.write_text(PASSPHRASE)
    passphrase.chmod(0o600)
    key = folder / f"{person}.key.json"
    return Desk(
        ("--key", str(key), "--hub", url, "--trust", str(folder / "trust.json"), "--passphrase-file", str(passphrase))
    )


async def check_url(desk: Desk, url: str, folder: Path) -> None:
    """A person fetches the signed directory with their own key to verify the log; one by another authority is an alarm."""
    key, _, trust, passphrase = (desk.options[place : place + 2] for place in range(0, 8, 2))
    options = [*trust, "--as", key[1], *passphrase]
    told = await asyncio.to_thread(CliRunner().invoke, app, ["verify", url, *options])
    assert told.exit_code == 1, told.output
    assert "of marchshire, which the pinned authority signed" in told.output
    assert "that witnesses saw this log: the directory names none" in told.output
    _, stranger = SigningKeys.generate(KeyUse.AUTHORITY)
    pinned = json.loads((folder / "trust.json").read_text()) | {"authority": [public_part(jwk) for jwk in stranger]}
    (folder / "other.json").write_text(json.dumps(pinned))
    options[1] = str(folder / "other.json")
    refused = await asyncio.to_thread(CliRunner().invoke, app, ["verify", url, *options])
    assert isinstance(refused.exception, IntegrityBroken), refused.output


async def test_a_person_reviews_from_the_command_line(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> None:
    _, ann = make_approver(tmp_path, "ann.lee", POLICE)
    _, joe = make_approver(tmp_path, "joe.lee", POLICE, ("clerk",))
    async with (
        open_hub_world(
            database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, SCHOOL), people=[ann, joe]
        ) as world,
        serve(world, tmp_path) as url,
        world.running_worker(),
    ):
        first, second = Draft(recipients=((CSC, "csc"),)), Draft(recipients=((SCHOOL, "dsl"),))
        sealed = {}
        for draft in (first, second):
            sealed[draft.message_id] = world.seal(draft)
            await world.publish(POLICE, [sealed[draft.message_id].body])
            await world.receive(POLICE, 1)
            await world.receive(draft.recipients[0][0], 1)
        desk = write_desk(tmp_path, world, url, "ann.lee")
        listed = await desk.run("list")
        assert listed.exit_code == 0, (listed.output, listed.exception)
        assert "2 in the queue." in listed.output
        assert "C10 D12: The identity of a source: a named approver decides." in listed.output
        assert "C10 D12 cannot be released to them" in listed.output
        assert "CANARY" not in listed.output

        await check_url(desk, url, tmp_path)
        delivery = first.header().deliveries[0].delivery_id
        other = second.header().deliveries[0].delivery_id
        assert "is yours" in (await desk.run("claim", delivery)).output
        clerk = write_desk(tmp_path, world, url, "joe.lee")
        denied = await clerk.run("release", delivery, "--reason-code", "need_to_know")
        assert isinstance(denied.exception, Rejected)
        released = await desk.run("release", delivery, "--reason-code", "need_to_know")
        assert "registered as" in released.output, (released.output, released.exception)
        [asked] = [m for m in await world.receive(POLICE, 2) if m.type == "approval"]
        request = parse_object(asked.body, max_bytes=1 << 20)
        addendum = sign_addendum(world, sealed[first.message_id], request)
        await world.publish(POLICE, [addendum], message_type="keyring_addendum")
        (late,) = await world.receive(CSC, 1)
        assert open_as(world, CSC, late.body) == {("C10", "incident"): "full"}

        useless = await desk.run("release", other, "--reason-code", "need_to_know")
        assert isinstance(useless.exception, Rejected), useless.output
        assert "nothing of it can be released: refuse it to close it" in str(useless.exception)
        assert useless.exception.field == "approval.delivery_id"
        unknown = await desk.run("refuse", other, "--reason-code", "because")
        assert isinstance(unknown.exception, Rejected), unknown.output
        assert unknown.exception.field == "approval.reason_code"
        assert "source_at_risk" in str(unknown.exception)
        refused = await desk.run("refuse", other, "--reason-code", "source_at_risk")
        assert "registered as" in refused.output, (refused.output, refused.exception)
        await world.wait_for("SELECT state FROM holds WHERE delivery_id = $1", "refused", other)
        await world.wait_for("SELECT state FROM holds WHERE delivery_id = $1", "released", delivery)
        assert "0 in the queue." in (await desk.run("list")).output

        settings = yaml.safe_load(world.config_file.read_text())
        settings["api"] = {"public_url": url, "certificate_file": "unused", "key_file": "unused"}
        world.config_file.write_text(yaml.safe_dump(settings))
        on_hub = ("--config", str(world.config_file))
        told = await asyncio.to_thread(CliRunner().invoke, app, ["policy", "explain", delivery, "--by", "ann", *on_hub])
        assert "Decided again (1), because of: release" in told.output, (told.output, told.exception)
        assert "The identity of a source, released by a named approver with a reason." in told.output
        rerun = await asyncio.to_thread(CliRunner().invoke, app, ["policy", "rerun", "--by", "ann", *on_hub])
        assert rerun.exit_code == 0, (rerun.output, rerun.exception)
        cases = Path(__file__).parents[1] / "contract" / "further-decision-cases.yaml"
        checked = await asyncio.to_thread(CliRunner().invoke, app, ["policy", "check", str(cases), *on_hub])
        assert "148 of 148 cases as expected" in checked.output, (checked.output, checked.exception)


async def test_a_person_audits_from_the_command_line(database: str, rabbit_vhost: RabbitVhost, tmp_path: Path) -> None:
    _, ann = make_approver(tmp_path, "ann.lee", POLICE, ("auditor",))
    _, joe = make_approver(tmp_path, "joe.lee", CSC, ("approver",))
    async with (
        open_hub_world(
            database, rabbit_vhost, tmp_path / "hub", agencies=(POLICE, CSC, SCHOOL), people=[ann, joe]
        ) as world,
        serve(world, tmp_path) as url,
        world.running_worker(),
    ):
        draft = Draft(recipients=((CSC, "csc"), (SCHOOL, "dsl")))
        await world.publish(POLICE, [world.seal(draft).body])
        await world.receive(POLICE, 1)
        await world.wait_for(
            "SELECT count(*) FROM audit_events a JOIN audit_streams s USING (stream) WHERE s.kind = 'decided'", 2
        )
        desk = write_desk(tmp_path, world, url, "ann.lee")

        found = await desk.run("search", "--event", "decided", "--agency", CSC, group="audit")
        assert found.exit_code == 0, (found.output, found.exception)
        assert draft.referral_id in found.output
        assert "1 events of 1. Complete up to position" in found.output
        printed = (await desk.run("search", "--limit", "1", "--json", group="audit")).output
        # The API that runs in this process may log a line to the same terminal.
        first, _ = json.JSONDecoder().raw_decode(printed, printed.index("{\n"))
        second = await desk.run("search", "--limit", "1", "--cursor", first["next_cursor"], group="audit")
        assert f"{first['events'][0]['position']:>9}  " not in second.output

        shown = await desk.run("show", draft.header().deliveries[0].delivery_id, group="audit")
        assert f"{draft.referral_id} revision 1: CP_S47 from {POLICE}" in shown.output, (shown.output, shown.exception)
        assert "C10 held" in shown.output
        assert "CANARY" not in shown.output + found.output

        file = tmp_path / "events.csv"
        exported = await desk.run("export", str(file), "--event", "decided", group="audit")
        assert "3 lines." in exported.output, (exported.output, exported.exception)
        assert file.stat().st_mode & 0o077 == 0
        assert isinstance((await desk.run("export", str(file), group="audit")).exception, SafelaneError), (
            "never over another"
        )

        await world.wait_for("SELECT count(*) > 0 FROM audit_events WHERE person = 'ann.lee'", True)
        looked = await desk.run("access", "--person", "ann.lee", group="audit")
        assert looked.output.count("ann.lee") >= 1, (looked.output, looked.exception)
        assert "things to ask about" in (await desk.run("access", "--unusual", group="audit")).output
        denied = await write_desk(tmp_path, world, url, "joe.lee").run("search", group="audit")
        assert isinstance(denied.exception, Rejected)
        assert "decided" not in denied.output

        before = await world.owner.fetch("SELECT count(*) FROM audit_events")
        again = await asyncio.to_thread(
            CliRunner().invoke, app, ["audit", "reindex", "--config", str(world.config_file)]
        )
        assert "complete up to position" in again.output, (again.output, again.exception)
        assert (await world.owner.fetch("SELECT count(*) FROM audit_events")) >= before
