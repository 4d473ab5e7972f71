"""A whole partnership while everything in it is killed and frozen at random: what was accepted with 202 arrives once, and the log stands.

Each run has a seed, printed when it fails. ``make test`` runs a short storm, ``make faults`` a long one.
"""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.local.hub_site import start_program
from deploy.local.local_partnership import LocalPartnership
from deploy.local.processes import ServerProcess
from deploy.local.sample_set import BUNDLED, PARTNERSHIP_FILE
from schemas.errors import DependencyUnavailable

ROOT = Path(__file__).parents[2]
DOCUMENT = BUNDLED / "police-ppn-json" / "ppn-0041877-s47-siblings.json"
RECEIVED_AT = datetime(2026, 11, 16, 22, 32, tzinfo=UTC)
SENDER = "police.marchshire"
STUCK_SECONDS = 90.0
_MOVING = frozenset({"received", "planned", "sealed", "published"})


class Sender(threading.Thread):
    """A record system that hands over document after document, each again with the same key until it is accepted."""

    def __init__(self, partnership: LocalPartnership, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        access = partnership.open_access(SENDER)
        self._headers = {**access._client.headers, "Content-Type": "application/json"}
        self._url = access.url
        access.close()
        self._stopping = stop
        self.accepted: dict[str, set[str]] = {}
        """Idempotency key to the referral ids that came back for it."""
        self.interrupted = 0

    def run(self) -> None:
        text = DOCUMENT.read_text(encoding="utf-8")
        number = 0
        while not self._stopping.is_set():
            number += 1
            document = text.replace("0041877", f"{5_000_000 + number}").replace(
                "50260118842", f"5026{7_000_000 + number}"
            )
            key = str(uuid.uuid4())
            self._hand_over(document.encode(), key)
            if number % 5 == 0:
                self._hand_over(document.encode(), key)  # the answer got lost: the record system asks again
            time.sleep(0.05)

    def _hand_over(self, document: bytes, key: str) -> None:
        while True:
            try:
                answer = httpx.post(
                    f"{self._url}/referrals",
                    content=document,
                    headers={**self._headers, "Idempotency-Key": key},
                    timeout=10,
                )
            except httpx.HTTPError:
                self.interrupted += 1
                time.sleep(0.2)
                continue
            if answer.status_code == 202:
                ids = {entry["referral_id"] for entry in answer.json()["referrals"]}
                self.accepted.setdefault(key, set()).update(ids)
                return
            assert answer.status_code >= 500, answer.status_code
            self.interrupted += 1
            time.sleep(0.2)


class Reader(threading.Thread):
    """Duty workers who open what comes."""

    def __init__(self, partnership: LocalPartnership, agencies: list[str], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._access = {agency: partnership.open_access(agency) for agency in agencies}
        self._stopping = stop
        self.opened: set[tuple[str, str]] = set()

    def run(self) -> None:
        while not self._stopping.is_set():
            for agency, access in self._access.items():
                try:
                    for line in access.list_inbox()[:5]:
                        if (agency, line["delivery_id"]) not in self.opened:
                            access.open_delivery(line["delivery_id"])
                            self.opened.add((agency, line["delivery_id"]))
                except DependencyUnavailable:
                    continue  # it has just been killed
            time.sleep(0.2)


class Storm:
    """Kills and freezes, one thing after another, and lets each come back."""

    def __init__(self, partnership: LocalPartnership, second_worker: ServerProcess, seed: int) -> None:
        self._partnership = partnership
        self._second_worker = second_worker
        self._chance = random.Random(seed)  # noqa: S311 (to be told again by its seed)
        hub = partnership.hub
        self._programs = {"worker": hub.worker, "worker-2": second_worker, "api": hub.api}
        self._programs |= {f"gateway-{site.name}": site.process for site in partnership.gateways}
        self.happened: Counter[str] = Counter()

    def rage(self, seconds: float) -> None:
        """Do it for so long; when it returns everything runs again."""
        victims = [*self._programs, "worker", "worker-2", "rabbitmq", "postgres"]
        ends = time.monotonic() + seconds
        order: list[str] = []
        while time.monotonic() < ends:
            order = order or self._chance.sample(victims, len(victims))  # each has its turn
            victim = order.pop()
            if victim in self._programs and self._chance.random() < 0.3:
                self._freeze(victim)
            else:
                self._kill(victim)
            time.sleep(self._chance.uniform(0.1, 1.0))
        self.restore()

    def restore(self) -> None:
        """Start whatever does not run."""
        partnership = self._partnership
        partnership.stack.start()
        partnership.hub.start()
        start_second_worker(partnership, self._second_worker)
        for site in partnership.gateways:
            site.start()
        for site in partnership.gateways:
            site.await_ready()

    def _kill(self, victim: str) -> None:
        self.happened[f"kill {victim}"] += 1
        if victim in {"rabbitmq", "postgres"}:
            getattr(self._partnership.stack, victim).kill()
            time.sleep(self._chance.uniform(0.0, 1.0))
            self._partnership.stack.start()
            return
        self._programs[victim].kill()
        time.sleep(self._chance.uniform(0.0, 1.5))
        self._start(victim)

    def _freeze(self, victim: str) -> None:
        """Stop a program for a while: it comes back and believes that nothing has happened."""
        pid = self._programs[victim].pid
        if pid is None:
            return
        self.happened[f"freeze {victim}"] += 1
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self._chance.uniform(0.5, 4.0))
        finally:
            os.kill(pid, signal.SIGCONT)

    def _start(self, victim: str) -> None:
        partnership = self._partnership
        if victim == "worker-2":
            start_second_worker(partnership, self._second_worker)
        elif victim in {"worker", "api"}:
            partnership.hub.start()
        else:
            next(site for site in partnership.gateways if f"gateway-{site.name}" == victim).start()


def start_second_worker(partnership: LocalPartnership, process: ServerProcess) -> None:
    start_program(process, "hub", "worker", "--config", str(partnership.hub.config_file))


@pytest.fixture
def partnership() -> Iterator[LocalPartnership]:
    # PostgreSQL's account must reach its folder: not below pytest's private one.
    folder = ROOT / "var" / "test" / f"storm_{os.getpid()}"
    folder.mkdir(parents=True, mode=0o711)
    made = LocalPartnership(
        folder / "run", BUNDLED / PARTNERSHIP_FILE, folder / "received", clock_file=folder / "clock"
    )
    try:
        made.set_clock(RECEIVED_AT)
        made.start(print)
        yield made
    finally:
        made.stop()
        made.stack.destroy()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(420)
def test_a_short_storm(partnership: LocalPartnership) -> None:
    weather(partnership, seconds=12.0, seed=random.SystemRandom().randrange(10**6))


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_long_storm(partnership: LocalPartnership) -> None:
    weather(partnership, seconds=180.0, seed=random.SystemRandom().randrange(10**6))


def weather(partnership: LocalPartnership, *, seconds: float, seed: int) -> None:
    """Let a storm pass over traffic, and check what is left."""
    print(f"seed {seed}")
    hub = partnership.hub
    second = ServerProcess(
        "hub-worker-2", pid_file=hub.root / "hub-worker-2.pid", log_file=hub.root / "logs" / "w2.log"
    )
    start_second_worker(partnership, second)
    stop = threading.Event()
    recipients = [agency.id for agency in partnership.agencies]
    sender, reader = Sender(partnership, stop), Reader(partnership, recipients, stop)
    storm = Storm(partnership, second, seed)
    try:
        sender.start()
        reader.start()
        storm.rage(seconds)
        stop.set()
        sender.join(60)
        reader.join(60)
        print(f"{len(sender.accepted)} handed over, {sender.interrupted} attempts interrupted, {dict(storm.happened)}")
        assert not sender.is_alive()
        assert len(sender.accepted) > seconds / 4
        check_calm(partnership, sender)
    finally:
        stop.set()
        second.end()


def check_calm(partnership: LocalPartnership, sender: Sender) -> None:
    """Everything accepted is settled, is at its recipients once, and the log stands."""
    assert all(len(ids) == 1 for ids in sender.accepted.values()), "one key had two answers"
    ids = [next(iter(found)) for found in sender.accepted.values()]
    access = partnership.open_access(SENDER)
    try:
        views = await_settled(partnership, access.describe_referral, ids)
        log = access._get("/log")
        attention = access._get("/attention")
    finally:
        access.close()
    assert log["state"] == "ok", log
    assert attention["quarantine"] == [], attention
    delivered: dict[str, list[str]] = {}
    for view in views:
        for delivery in view["deliveries"]:
            if delivery["outcome"] == "delivered":
                delivered.setdefault(delivery["recipient"], []).append(delivery["delivery_id"])
    assert delivered
    for agency, expected in delivered.items():
        inbox = partnership.open_access(agency)
        try:
            got = Counter(line["delivery_id"] for line in inbox.list_inbox())
        finally:
            inbox.close()
        assert got == Counter(expected), agency
    check_database(partnership, len(ids))
    check_logs(partnership)


def await_settled(
    partnership: LocalPartnership, describe: Callable[[str], dict[str, Any]], ids: list[str]
) -> list[dict[str, Any]]:
    """Return the sender's view of each referral once it is settled; fail when for ``STUCK_SECONDS`` none settles."""
    views: list[dict[str, Any]] = []
    for referral_id in ids:
        deadline = time.monotonic() + STUCK_SECONDS
        while True:
            view = describe(referral_id)
            delivered = [d for d in view["deliveries"] if d["outcome"] == "delivered"]
            if view["state"] not in _MOVING and all(d["receipt"] for d in delivered):
                views.append(view)
                break
            receipts = [(d["recipient"], d["receipt"]) for d in delivered]
            assert time.monotonic() < deadline, (
                f"number {len(views)} of {len(ids)} is stuck: {view['state']}, {receipts}"
            )
            time.sleep(0.2)
    return views


def explain(partnership: LocalPartnership, view: dict[str, Any]) -> list[dict[str, Any]]:
    """Return, for each delivery without a receipt, how far hub and recipient say that it came: states and counts alone."""
    found = []
    for delivery in view["deliveries"]:
        if delivery["outcome"] != "delivered" or delivery["receipt"]:
            continue
        inbox = partnership.open_access(delivery["recipient"])
        try:
            lines = [line for line in inbox.list_inbox() if line["delivery_id"] == delivery["delivery_id"]]
        finally:
            inbox.close()
        hub = query(
            partnership,
            "SELECT d.state, (SELECT count(*) FROM receipts r WHERE r.delivery_id = d.delivery_id) AS receipts,"
            " (SELECT json_agg(json_build_array(o.kind, o.recipient, o.attempts, o.offers, o.due_at - now())) FROM outbox o"
            " WHERE o.message_id = d.message_id AND coalesce(o.delivery_id, d.delivery_id) = d.delivery_id) AS outbox"
            " FROM deliveries d WHERE delivery_id = $1",
            delivery["delivery_id"],
        )
        states = [{name: line[name] for name in ("state", "receipt") if name in line} for line in lines]
        found.append({"recipient": delivery["recipient"], "hub": hub, "inbox": states})
    return found


def query(partnership: LocalPartnership, statement: str, *arguments: object) -> list[dict[str, Any]]:
    async def ask() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(partnership.stack.addresses.postgres_dsn)
        try:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(ask())


def check_database(partnership: LocalPartnership, referrals: int) -> None:
    (counts,) = query(
        partnership,
        "SELECT (SELECT count(*) FROM messages) AS messages, (SELECT count(*) FROM quarantine) AS quarantined,"
        " (SELECT count(*) FROM (SELECT size FROM log_checkpoints GROUP BY size HAVING count(*) > 1) two) AS forks",
    )
    assert counts == {"messages": referrals, "quarantined": 0, "forks": 0}
    found = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "hub", "fsck", "--config", str(partnership.hub.config_file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def check_logs(partnership: LocalPartnership) -> None:
    """Nothing surprised a program: each thing that happened has a typed error, and no stack trace was written."""
    for path in partnership.root.glob("**/logs/*.log"):
        if path.name in {"rabbitmq.log", "postgres.log"}:
            continue
        assert "Traceback" not in path.read_text(errors="replace"), path.name
