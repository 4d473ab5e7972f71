"""``make bench``: the hub beside an ordinary relay, interleaved in one run on one machine; the result goes to ``var/bench/result.json``.

``ratio`` compares like with like: the relay moves sealed referrals of the same sort to three queues, and checks, decides, redacts and logs nothing.
``ratio_to_plain_content`` compares with a relay of the bare 6 kB of content, unsealed: what sealing and proving cost altogether. Each is given for one
process of `safelane hub worker`, and (``ratio_all_cores``) for one a core, as `worker.processes` has it on a machine of its own; the relay is one process.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_bytes
from typing import Any

from bench import audit, console, fsck_rate, log_proofs, reports
from bench.processor_time import ServersTime
from bench.servers import write_result
from broker.amqp.frames import Outgoing
from broker.amqp.publisher import BatchPublisher, Outcome
from broker.amqp.topology import (
    DELIVERY_EXCHANGE,
    INTAKE_EXCHANGE,
    INTAKE_QUEUES,
    Queue,
    Topology,
    declare_topology,
    intake_routing_key,
)
from deploy.local.install import ensure_rabbitmq
from deploy.local.stack import LocalStack
from tests.support.hub_world import POLICE, Draft, HubWorld, open_hub_world
from tests.support.servers import RabbitVhost, fresh_database

ROOT = Path("var/bench")
CONTENT_BYTES = 6144
SECTIONS = 8
RECIPIENTS = 3
RUNS = ("plain_relay", "relay", "hub", "hub_all_cores")
CORES = len(os.sched_getaffinity(0))
PARTS = ("program", "rabbitmq", "postgres")
"""Where processor time goes: the relay or hub worker itself, and the servers."""
_CHUNK = 200
MEASUREMENTS = ("relay", "fsck", "log_proofs", "audit", "reports", "console")


async def run(rounds: int, count: int, profile: str | None) -> dict[str, Any]:
    """Measure ``rounds`` pairs of ``count`` referrals each, relay and hub in turn."""
    stack = LocalStack(ROOT / "stack")
    ensure_rabbitmq(print)
    folder = (ROOT / "hub").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        stack.start(print)
        async for dsn in fresh_database(stack):
            vhost = RabbitVhost(stack, "safelane", _administration(stack))
            try:
                await vhost.administration.prepare_vhost()
                async with open_hub_world(dsn, vhost, folder, lease="PT60S", relay_every_seconds=1.0) as world:
                    return await _measure(world, stack, rounds, count, profile)
            finally:
                await vhost.administration.close()
    finally:
        stack.destroy()
    raise RuntimeError("no database")


def _administration(stack: LocalStack) -> Any:
    from broker.amqp.administration import RabbitAdministration

    return RabbitAdministration(stack.administration_settings())


async def _measure(world: HubWorld, stack: LocalStack, rounds: int, count: int, profile: str | None) -> dict[str, Any]:
    plain = _plain_queues()
    await declare_topology(world.rabbit.amqp_settings("hub"), Topology((), tuple(plain)))
    rates: dict[str, list[float]] = {name: [] for name in RUNS}
    cpu: dict[str, dict[str, list[float]]] = {name: {part: [] for part in PARTS} for name in RUNS}
    sealed_bytes = 0
    for number in range(rounds):
        for name in RUNS:
            bodies = [world.seal(Draft(text_bytes=CONTENT_BYTES // SECTIONS)).body for _ in range(count)]
            sealed_bytes = len(bodies[0])
            result = await _run_one(name, world, plain, bodies, stack=stack, profile=profile)
            await _purge(world, [queue.name for queue in plain] + list(world.queues.values()))
            rates[name].append(count / result["seconds"])
            for part in PARTS:
                cpu[name][part].append(1000 * result[part] / count)
        print(f"round {number + 1}: " + ", ".join(_describe(name, rates[name], cpu[name]) for name in RUNS), flush=True)
    return {
        "at": datetime.now(UTC).isoformat(),
        "rounds": rounds,
        "referrals_a_round": count,
        "content_bytes": CONTENT_BYTES,
        "sections": SECTIONS,
        "recipients": RECIPIENTS,
        "sealed_bytes": sealed_bytes,
        "cores": CORES,
        "load_average": os.getloadavg()[0],
        "log_entries": await world.owner.fetchval("SELECT count(*) FROM log_entries"),
        "per_second": {name: [round(rate, 1) for rate in values] for name, values in rates.items()},
        "cpu_ms_a_referral": {
            name: {part: round(statistics.median(values), 3) for part, values in parts.items()}
            for name, parts in cpu.items()
        },
        "ratio": _compare(rates, "hub", "relay"),
        "ratio_to_plain_content": _compare(rates, "hub", "plain_relay"),
        "ratio_all_cores": _compare(rates, "hub_all_cores", "relay"),
        "ratio_all_cores_to_plain_content": _compare(rates, "hub_all_cores", "plain_relay"),
    }


def _compare(rates: dict[str, list[float]], one: str, other: str) -> dict[str, float]:
    """Return the ratio of the medians, and the least and the greatest ratio within a round."""
    within = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
    return {
        "median": round(statistics.median(rates[one]) / statistics.median(rates[other]), 3),
        "least": round(min(within), 3),
        "greatest": round(max(within), 3),
    }


async def _run_one(
    name: str, world: HubWorld, plain: list[Queue], bodies: list[bytes], *, stack: LocalStack, profile: str | None
) -> dict[str, float]:
    """Load the queue, run the program, and return its seconds and the processor seconds of each part of the machine."""
    count = len(bodies)
    if name.startswith("hub"):
        await _preload(world, POLICE, bodies, INTAKE_EXCHANGE, intake_routing_key(POLICE, "referral"))
    else:
        load = [token_bytes(CONTENT_BYTES)] * count if name == "plain_relay" else bodies
        await _preload(world, "hub", load, DELIVERY_EXCHANGE, plain[0].routing_key)
    running = stack.status()
    if running.rabbitmq_pid is None or running.postgres_pid is None:
        raise RuntimeError("a server has ended")
    servers = ServersTime({"rabbitmq": running.rabbitmq_pid, "postgres": running.postgres_pid})
    if name.startswith("hub"):
        result = await _run_worker(world, count, CORES if name == "hub_all_cores" else 1, profile)
    else:
        result = await _run_relay(world, plain, count)
    return {"seconds": result["seconds"], "program": result["cpu_seconds"], **servers.read()}


def _describe(name: str, rates: list[float], cpu: dict[str, list[float]]) -> str:
    parts = " + ".join(f"{cpu[part][-1]:.2f}" for part in PARTS)
    return f"{name} {rates[-1]:.0f}/s ({parts} ms CPU)"


def _plain_queues() -> list[Queue]:
    """Return the relay's source and its three targets: quorum queues with the same arguments as the hub's."""
    from broker.amqp.topology import delivery_queue

    return [delivery_queue(f"safelane.delivery.bench.{number}") for number in range(RECIPIENTS + 1)]


async def _preload(world: HubWorld, user: str, bodies: list[bytes], exchange: str, key: str) -> None:
    publisher = BatchPublisher(world.rabbit.amqp_settings(user), confirm_timeout=120)
    try:
        for start in range(0, len(bodies), _CHUNK):
            outgoing = [
                Outgoing(f"b{start + n}", exchange, key, body, user)
                for n, body in enumerate(bodies[start : start + _CHUNK])
            ]
            outcomes = await publisher.publish_batch(outgoing)
            if set(outcomes.values()) != {Outcome.CONFIRMED}:
                raise RuntimeError("the load could not be published")
    finally:
        await publisher.close()


async def _run_relay(world: HubWorld, queues: list[Queue], count: int) -> dict[str, float]:
    settings = world.rabbit.amqp_settings("hub").model_dump(mode="json")
    settings |= {
        "source": queues[0].name,
        "targets": [queue.name for queue in queues[1:]],
        "exchange": DELIVERY_EXCHANGE,
    }
    settings["count"] = count
    return await _run_program(["bench.relay"], json.dumps(settings).encode() + b"\n")


async def _run_worker(world: HubWorld, count: int, processes: int, profile: str | None) -> dict[str, float]:
    arguments = [str(world.config_file), str(count), str(processes), *([profile] if profile else [])]
    return await _run_program(["bench.worker", *arguments], b"")


async def _run_program(arguments: list[str], data: bytes) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(data), 600)
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} failed")
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


async def _purge(world: HubWorld, queues: list[str]) -> None:
    from broker.amqp.connection import close_quietly, open_channel, open_connection

    connection = await open_connection(world.rabbit.amqp_settings("hub"))
    channel = await open_channel(connection, confirms=False)
    for queue in [*queues, *INTAKE_QUEUES.values()]:
        await (await channel.get_queue(queue, ensure=False)).purge(timeout=30)
    await close_quietly(connection)


def _print_ratios(result: dict[str, Any]) -> None:
    for name, against in (("", "a relay of the same messages"), ("_to_plain_content", "a relay of bare content")):
        one, every = result[f"ratio{name}"], result[f"ratio_all_cores{name}"]
        print(
            f"beside {against}: one process {one['median']} (rounds {one['least']} to {one['greatest']}), "
            f"one process a core ({CORES}) {every['median']} (rounds {every['least']} to {every['greatest']})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--only", choices=MEASUREMENTS, help="one measurement (make bench ONLY=…)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--profile", help="write a cProfile of the worker there")
    parser.add_argument("--fresh", action="store_true", help="fill the county of audit, reports and console anew")
    options = parser.parse_args()
    if options.only in {None, "relay"}:
        result = asyncio.run(run(options.rounds, options.count, options.profile))
        write_result(None, result)
        _print_ratios(result)
    if options.only in {None, "fsck"}:
        fsck_rate.main()
    if options.only in {None, "log_proofs"}:
        log_proofs.main()
    if options.only in {None, "audit"}:
        audit.main(fresh=options.fresh)
    if options.only in {None, "reports"}:
        reports.main()
    if options.only in {None, "console"}:
        console.main(fresh=options.fresh and options.only == "console")
    print(f"written to {ROOT / 'result.json'}")


if __name__ == "__main__":
    main()
