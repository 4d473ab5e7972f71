"""Whether this process can do its work now: each check by name, with a code, never a server's own words."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from broker.amqp.intake_watch import IntakeWatch
from broker.amqp.settings import AmqpSettings
from broker.log.lock_watch import LockWatch
from broker.registry import Registry
from broker.store.pool import StoreUnavailable, translate_errors
from schemas.errors import DependencyUnavailable, SafelaneError

CHECK_SECONDS = 8.0
KEEP_SECONDS = 3.0


class LogNotWritable(DependencyUnavailable):
    """The message log cannot take entries: no log, no release."""

    code = "log-not-writable"
    public_message = "The message log cannot be written. Nothing is released until it can."


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: its name, whether it passed, and if not the error's code and why in words."""

    name: str
    ready: bool
    code: str = ""
    why: str = ""


Check = Callable[[], Awaitable[None]]


class Readiness:
    """Runs the checks at once, at most every few seconds, each with a time limit."""

    def __init__(
        self, checks: dict[str, Check], lock_watch: LockWatch | None = None, intake_watch: IntakeWatch | None = None
    ) -> None:
        """Take the checks by name; a check raises when it fails. The watches are those that the checks of log and RabbitMQ use."""
        self.checks = checks
        self.lock_watch = lock_watch
        self.intake_watch = intake_watch
        self._lock = asyncio.Lock()
        self._kept: tuple[float, list[CheckResult]] | None = None

    async def check(self) -> list[CheckResult]:
        """Return the result of every check, at most three seconds old."""
        async with self._lock:
            if self._kept and time.monotonic() - self._kept[0] < KEEP_SECONDS:
                return self._kept[1]
            results = list(await asyncio.gather(*(_run(name, check) for name, check in self.checks.items())))
            self._kept = (time.monotonic(), results)
            return results


def build_readiness(pool: asyncpg.Pool, registry: Registry, amqp: AmqpSettings | None) -> Readiness:
    """Return the API's checks: PostgreSQL, log writable, directory not expired, RabbitMQ (where settings are given)."""
    lock_watch = LockWatch(pool)

    async def check_postgresql() -> None:
        with translate_errors():
            await pool.fetchval("SELECT 1", timeout=CHECK_SECONDS)

    async def check_log() -> None:
        with translate_errors():
            writable = await pool.fetchval(
                "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"
                " AND has_table_privilege('log_entries', 'INSERT')",
                timeout=CHECK_SECONDS,
            )
        if not writable:
            raise LogNotWritable
        await lock_watch.check()

    async def check_directory() -> None:
        (await registry.current()).require_fresh(registry.clock())

    checks: dict[str, Check] = {"postgresql": check_postgresql, "log": check_log, "directory": check_directory}
    if amqp is None:
        return Readiness(checks, lock_watch)
    intake_watch = IntakeWatch(amqp)
    return Readiness(checks | {"rabbitmq": intake_watch.look}, lock_watch, intake_watch)


async def _run(name: str, check: Check) -> CheckResult:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except SafelaneError as error:
        return CheckResult(name, ready=False, code=error.code, why=error.public_message)
    except TimeoutError:
        code = StoreUnavailable.code if name == "postgresql" else "timeout"
        return CheckResult(name, ready=False, code=code, why="It did not answer in time.")
    except asyncpg.PostgresError:
        return CheckResult(name, ready=False, code="schema-missing", why="The database's schema is not this program's.")
    return CheckResult(name, ready=True)
