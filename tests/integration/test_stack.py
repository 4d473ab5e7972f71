"""The embedded stack: starts whole, survives kills with its data, keeps its secrets, leaves nothing behind."""

import os
import pwd
import stat
import uuid
from pathlib import Path

import asyncpg
import pytest

from broker.amqp.administration import RabbitAdministration
from broker.amqp.consumer import BatchConsumer
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.topology import DELIVERY_EXCHANGE, INTAKE_EXCHANGE, intake_routing_key
from deploy.local.clean import clean_state
from deploy.local.processes import ServerProcess
from deploy.local.stack import LocalStack

pytestmark = pytest.mark.timeout(180)


async def test_confirmed_and_committed_survive_a_kill_of_both_servers(own_stack: LocalStack) -> None:
    administration = RabbitAdministration(own_stack.administration_settings())
    agency = await administration.provision_agency("csc.test")
    await administration.close()
    hub = BatchPublisher(own_stack.amqp_settings("hub"))
    sent = [Outgoing(uuid.uuid4().hex, DELIVERY_EXCHANGE, agency.delivery_queue, b"sealed", "hub") for _ in range(200)]
    assert set((await hub.publish_batch(sent)).values()) == {Outcome.CONFIRMED}
    connection = await asyncpg.connect(own_stack.addresses.postgres_dsn)
    await connection.execute("CREATE TABLE kept (n int)")
    await connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")

    before = own_stack.status()
    own_stack.rabbitmq.kill()
    own_stack.postgres.kill()
    assert not own_stack.status().running
    ports = (own_stack.root / "ports.json").read_text()
    again = LocalStack(own_stack.root)  # as a new process would
    assert (again.root / "ports.json").read_text() == ports
    assert again.start() == own_stack.addresses
    after = again.status()
    assert after.running
    assert (after.rabbitmq_pid, after.postgres_pid) != (before.rabbitmq_pid, before.postgres_pid)

    connection = await asyncpg.connect(again.addresses.postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 1000
    await connection.close()
    consumer = BatchConsumer(again.amqp_settings("csc.test"), [agency.delivery_queue])
    ids: set[str] = set()
    while batch := await consumer.next_batch(within=5):
        ids |= {message.delivery_id for message in batch.messages}
        await batch.ack()
        if len(ids) == 200:
            break
    assert ids == {message.delivery_id for message in sent}
    await consumer.close()
    await hub.close()


def test_start_and_stop_may_be_repeated(own_stack: LocalStack) -> None:
    first = own_stack.status()
    own_stack.start()
    assert own_stack.status() == first  # what runs is left alone
    own_stack.stop()
    own_stack.stop()
    assert (own_stack.status().rabbitmq_pid, own_stack.status().postgres_pid) == (None, None)
    assert LocalStack(own_stack.root).start() == own_stack.addresses


async def test_postgres_is_durable_and_logs_no_data(postgres: LocalStack, database: str) -> None:
    canary = f"canary{uuid.uuid4().hex}"
    connection = await asyncpg.connect(database)
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await connection.fetchval(f"SHOW {name}") == "on"
    assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    await connection.execute("CREATE TABLE t (name text PRIMARY KEY)")
    await connection.execute("INSERT INTO t VALUES ($1)", canary)
    for statement in (f"INSERT INTO t VALUES ('{canary}')", f"SELECT '{canary}'::int"):  # noqa: S608 (our own canary)
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute(statement)
    with pytest.raises(asyncpg.PostgresError):
        await connection.execute("INSERT INTO t VALUES ($1)", canary)
    await connection.close()
    log = next((postgres.root / "postgres").glob("*.log")).read_text()
    assert canary not in log


def test_wrong_password_is_refused(postgres: LocalStack) -> None:
    import asyncio

    async def enter() -> None:
        await asyncpg.connect(
            host="127.0.0.1", port=postgres.postgres.port, user="postgres", password="", database="postgres"
        )

    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(enter())


def test_secrets_are_for_their_owner_alone(rabbit: LocalStack, postgres: LocalStack) -> None:
    secret_files = [
        p
        for p in rabbit.root.rglob("*")
        if p.suffix in {".key", ".secret"} or p.name in {"definitions.json", ".erlang.cookie"}
    ]
    assert len(secret_files) >= 6
    for path in secret_files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name
    for folder in ("pki", "rabbitmq"):
        assert stat.S_IMODE((rabbit.root / folder).stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")
def test_as_root_postgres_runs_as_its_own_user_and_no_parent_is_opened(tmp_path: Path) -> None:
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    stack = LocalStack(closed / "stack")
    try:
        stack.postgres.start()
        owner = Path(f"/proc/{stack.postgres.pid}").stat().st_uid
        assert pwd.getpwuid(owner).pw_name == "safelane-postgres"
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        stack.destroy()
    assert not list(Path("/var/tmp").glob(f"safelane-postgres-*/{stack.root.name}"))


def test_clean_ends_everything_below_a_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    stack = LocalStack(tmp_path / "var" / "local")
    stack.postgres.start()
    pid = stack.postgres.pid
    program = ServerProcess(
        "sleep", pid_file=tmp_path / "var" / "run" / "sleep.pid", log_file=tmp_path / "var" / "run" / "sleep.log"
    )
    program.launch(["/bin/sleep", "600"], env={}, cwd=tmp_path)
    program_pid = program.pid
    assert pid is not None
    assert program_pid is not None
    assert clean_state(tmp_path / "var") == 1
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"  # ended, and ours to reap
    assert program.pid is None
    assert not stack.root.exists()


def test_stale_pid_file_names_no_stranger(tmp_path: Path) -> None:
    pid_file = tmp_path / "x.pid"
    pid_file.write_text(f"{os.getpid()} 1")  # our own pid, another start time: an earlier process
    process = ServerProcess("x", pid_file=pid_file, log_file=tmp_path / "x.log")
    assert process.pid is None
    process.end()  # must not end us
    assert not pid_file.exists()


async def test_restarted_node_lets_a_waiting_publisher_go_on(own_stack: LocalStack) -> None:
    administration = RabbitAdministration(own_stack.administration_settings())
    await administration.provision_agency("police.test")
    await administration.close()
    publisher = BatchPublisher(own_stack.amqp_settings("police.test"))
    message = Outgoing("m1", INTAKE_EXCHANGE, intake_routing_key("police.test", "referral"), b"{}", "police.test")
    assert await publisher.publish_batch([message]) == {"m1": Outcome.CONFIRMED}
    own_stack.rabbitmq.kill()
    own_stack.start()
    outcome = Outcome.UNKNOWN
    while outcome is Outcome.UNKNOWN:  # the first try may still meet the dead connection
        outcome = (await publisher.publish_batch([message]))["m1"]
    assert outcome is Outcome.CONFIRMED
    await publisher.close()
