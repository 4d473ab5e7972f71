"""Runs a hub worker that kills itself with SIGKILL at a named step: ``python -m tests.support.killed_worker CONFIG STEP NUMBER MUTATION``.

A mutation is a fault put into the worker on purpose: the tests must notice each of them.
"""

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.amqp.consumer import IncomingBatch
from broker.config import load_config
from broker.intake import batch as batch_module
from broker.intake import referrals, worker
from broker.intake.batch import Intake
from broker.intake.clocking import ClockLedger
from broker.log import LogBatch
from broker.store import messages
from broker.wiring import build_worker


def die_at(step: str, number: int) -> Callable[[str], None]:
    """Return a hook that kills this process when ``step`` is done for the ``number``-th time."""
    left = number

    def observe(done: str) -> None:
        nonlocal left
        if done == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return observe


def ack_before_commit() -> None:
    """Acknowledge a batch before it is taken in."""
    real = worker.IntakeLoop._commit

    async def commit(self: Any, batch: IncomingBatch) -> Any:
        await batch.ack(batch.messages)
        await asyncio.sleep(0.1)
        return await real(self, batch)

    worker.IntakeLoop._commit = commit  # type: ignore[method-assign]


def publish_before_commit() -> None:
    """Publish what a batch releases as soon as its events are appended, before COMMIT."""
    real_commit = batch_module.commit_effects
    loops: list[worker.IntakeLoop] = []
    real_init = worker.IntakeLoop.__init__

    def init(self: Any, **options: Any) -> None:
        real_init(self, **options)
        loops.append(self)

    async def commit(*args: Any, **options: Any) -> LogBatch | None:
        effects, log = args[3], args[2]
        real_append = log.append_locked

        async def append_and_publish(*more: Any, **rest: Any) -> LogBatch:
            batch: LogBatch = await real_append(*more, **rest)
            await loops[0]._dispatcher._publisher.publish_batch([])
            parcels = batch_module.build_parcels(effects.events, effects.drafts, batch)
            await loops[0]._dispatcher.publish(parcels)
            return batch

        log.append_locked = append_and_publish
        try:
            return await real_commit(*args, **options)
        finally:
            log.append_locked = real_append

    worker.IntakeLoop.__init__ = init  # type: ignore[method-assign]
    batch_module.commit_effects = commit  # type: ignore[assignment]


def no_dedupe() -> None:
    """Forget what was taken in before: every message is new, under a revision that nobody used."""
    real = Intake._find_known

    async def find_known(self: Any, *args: Any) -> Any:
        known = await real(self, *args)
        return messages.Known({}, {}, {}, {}, known.refused)

    real_build = referrals.build_referral

    def build(candidate: Any, decisions: Any, context: Any, effects: Any, known: Any) -> None:
        real_build(candidate, decisions, context, effects, known)
        for part in dataclasses.fields(effects):
            gathered = getattr(effects, part.name)
            if isinstance(gathered, list) and part.name not in {"events", "drafts"}:
                gathered.clear()  # whose unique constraints would notice

    async def write_no_clocks(*_args: Any) -> int:
        return 0

    ClockLedger.write = write_no_clocks  # type: ignore[method-assign]
    Intake._find_known = find_known  # type: ignore[method-assign]
    referrals.build_referral = build


MUTATIONS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "ack_before_commit": ack_before_commit,
    "publish_before_commit": publish_before_commit,
    "no_dedupe": no_dedupe,
}


def main() -> None:
    """Run the worker until it dies."""
    config, step, number, mutation = sys.argv[1:]
    MUTATIONS[mutation]()
    asyncio.run(build_worker(load_config(Path(config)), observe=die_at(step, int(number))).run())


if __name__ == "__main__":
    main()
