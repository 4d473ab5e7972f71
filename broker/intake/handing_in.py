"""Handing in an approval, wherever it comes from (the API, the console): verified, registered and logged in one transaction, with one effect."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from broker.delivery.ports import observe_nothing
from broker.intake.activating import approve_pack
from broker.intake.approving import build_approval, check_approval
from broker.intake.committing import RacedByAnother, commit_effects
from broker.intake.effects import Effects
from broker.intake.pairing import approve_as_one_of_two
from broker.log import LogWriter
from broker.registry import Registry
from broker.store.pool import translate_errors
from schemas.errors import DependencyUnavailable, NotPermitted
from schemas.objects.approval import PAIRED_ACTIONS, ApprovalAction
from schemas.objects.signed import digest_object, peek_object

_MOST_RACES: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HandingIn:
    """What takes approvals: a pool whose role may register them, the log and the directory. Stateless."""

    pool: asyncpg.Pool
    log: LogWriter
    registry: Registry

    async def take(self, body: bytes, person: str, *, real_now: datetime, now: datetime) -> str:
        """Register a signed approval that ``person`` hands in and return its digest; ``now`` is the business time. Again, it changes nothing.

        Raises:
            SignatureInvalid, MalformedMessage, NotFound, NotPermitted, Conflict: as ``approving.check_approval``; or somebody else signed it.
            DependencyUnavailable: it could not be stored; nothing happened.
        """
        for _ in range(_MOST_RACES):
            try:
                return await self._take_once(body, person, real_now, now)
            except RacedByAnother:
                continue
        raise DependencyUnavailable("the registers move too fast", field="postgresql")

    async def _take_once(self, body: bytes, person: str, real_now: datetime, now: datetime) -> str:
        with translate_errors():
            snapshot = await self.registry.current()
            async with self.pool.acquire(timeout=10) as connection:
                digest = digest_object(body)
                if await connection.fetchval(
                    "SELECT 1 FROM approvals WHERE object_digest = $1 AND approver = $2", digest, person
                ):
                    return digest  # handed in again after a lost answer: one effect
                if peek_object(body).get("action") == ApprovalAction.ACTIVATE_POLICY:
                    return await approve_pack(
                        self.pool, connection, self.log, body, snapshot, person=person, now=real_now
                    )
                if peek_object(body).get("action") in PAIRED_ACTIONS:
                    return await approve_as_one_of_two(
                        self.pool, connection, self.log, body, snapshot, person=person, now=real_now
                    )
                taken = await check_approval(connection, body, snapshot, real_now=real_now)
                if taken.person.id != person:
                    raise NotPermitted("is signed by somebody else", field="approval.approver")
                effects = Effects(now=real_now, lease_until=real_now)
                sender = await connection.fetchval(
                    "SELECT sender FROM messages WHERE message_id = $1", taken.message_id
                )
                build_approval(taken, effects, sender=sender, now=now)
                await commit_effects(
                    self.pool, connection, self.log, effects, snapshot=snapshot, observe=observe_nothing
                )
        _log.info("approval_registered", action=taken.approval.action.value)
        return taken.digest
