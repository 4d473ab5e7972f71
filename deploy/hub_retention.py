"""Retention as an operator runs it: erasing what is due with the eraser's own login, and legal holds under the API's."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from broker.api.wiring import read_clock
from broker.config import HubConfig, read_log_key
from broker.intake.pairing import use_pair
from broker.log import LogWriter
from broker.retention import holds
from broker.retention.erasing import ErasedCounts, Eraser
from broker.store import open_pool, translate_errors
from broker.store.erasing import RetainedCounts
from broker.store.pool import Connection
from deploy.clock import build_business_clock
from deploy.hub_status import open_operator
from schemas.errors import NotFound
from schemas.objects.approval import ApprovalAction


def open_log(config: HubConfig) -> LogWriter:
    """Return the log's writer.

    Raises:
        ConfigInvalid: the log's key cannot be read.
    """
    return LogWriter(config.log.origin, read_log_key(config.log.key_file), epoch=config.log.epoch)


@asynccontextmanager
async def open_eraser(config: HubConfig) -> AsyncIterator[Eraser]:
    """Open a pool of one connection as the role ``safelane_eraser``, and the eraser on it.

    Raises:
        ConfigInvalid: the configuration names no login for that role.
        StoreUnavailable: PostgreSQL does not answer.
    """
    dsn = config.postgres.read_dsn("eraser")
    clock = build_business_clock(config.clock_file, config.environment)
    pool = await open_pool(dsn, name="safelane-eraser", most=1)
    try:
        yield Eraser(pool, open_log(config), clock, config.retention.ciphertext_after)
    finally:
        await pool.close()


async def run_retention(config: HubConfig, *, stay: bool) -> ErasedCounts:
    """Erase what is due; with ``stay`` again and again until SIGTERM or SIGINT.

    Raises:
        ConfigInvalid: the configuration names no login for the eraser.
        StoreUnavailable: PostgreSQL does not answer (without ``stay``; with it, at the start).
    """
    async with open_eraser(config) as eraser:
        if not stay:
            return await eraser.erase_due()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await eraser.run(stop, every=config.retention.every)
        return ErasedCounts()


async def count_retained(config: HubConfig) -> RetainedCounts:
    """Return what has been kept for longer than its time, and why.

    Raises:
        ConfigInvalid: the configuration names no login for the eraser.
        StoreUnavailable: PostgreSQL does not answer.
    """
    async with open_eraser(config) as eraser:
        return await eraser.count()


async def place_hold(
    config: HubConfig, *, scope: str, subject: str, reason_code: str, by: str
) -> tuple[UUID, int | None]:
    """Place a legal hold; return its id, and how many messages of the referral are here (none given for a subject).

    Raises:
        MalformedMessage: what it names is not of its form.
        StoreUnavailable: nothing was placed.
    """
    now = build_business_clock(config.clock_file, config.environment)()
    async with open_operator(config) as (pool, _):
        hold_id = await holds.place_hold(
            pool, open_log(config), scope=scope, subject=subject, reason_code=reason_code, by=by, now=now
        )
        return hold_id, await holds.count_of_referral(pool, subject) if scope == "referral" else None


async def list_holds(config: HubConfig, *, in_force: bool) -> list[dict[str, Any]]:
    """Return legal holds, newest first.

    Raises:
        StoreUnavailable: PostgreSQL does not answer.
    """
    async with open_operator(config) as (pool, _):
        return await holds.list_holds(pool, in_force=in_force)


async def erase_referral(config: HubConfig, referral_id: str, *, by: str) -> int:
    """Erase all that is held of a referral on two people's approvals; return how many log entries lost their payload.

    Raises:
        TwoMustApprove: they have not both approved it.
        NotFound, Conflict: there is no such referral, or it is held, under way or erased already.
        StoreUnavailable: nothing was erased.
    """
    async with open_eraser(config) as eraser, open_operator(config) as (_, registry):
        directory = (await registry.current()).directory

        async def approve(connection: Connection) -> tuple[Sequence[str], str]:
            pair = await use_pair(connection, directory, ApprovalAction.ERASE, referral_id, now=read_clock())
            return pair.people, pair.reason_code

        return await eraser.erase_referral(referral_id, by=by, approve=approve)


async def lift_hold(config: HubConfig, hold_id: str, *, by: str) -> Sequence[str]:
    """Lift a legal hold on two people's approvals; return who they are.

    Raises:
        TwoMustApprove: they have not both approved it.
        NotFound: there is no such hold in force.
        StoreUnavailable: nothing was lifted.
    """
    try:
        wanted = UUID(hold_id)
    except ValueError:
        raise NotFound("there is no such hold", field="hold_id") from None
    now = build_business_clock(config.clock_file, config.environment)()
    async with open_operator(config) as (pool, registry):
        directory = (await registry.current()).directory
        with translate_errors():
            async with pool.acquire(timeout=10) as connection, connection.transaction():
                pair = await use_pair(connection, directory, ApprovalAction.LIFT_HOLD, hold_id, now=read_clock())
                await holds.lift_hold(
                    connection,
                    open_log(config),
                    wanted,
                    by=by,
                    approvers=list(pair.people),
                    reason_code=pair.reason_code,
                    now=now,
                )
    return pair.people
