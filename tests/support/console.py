"""The console as its people meet it: the real program over TLS on loopback, on a database of its own, with one account for each role.

``console`` starts it once a session. ``sign_in`` goes the whole way in a browser; ``open_session`` puts a session's cookie there at once.
"""

import asyncio
import base64
import json
import os
import secrets
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import httpx
import pyotp
import pytest
import yaml

from broker.audit import Projector
from broker.audit.event_index import EventIndex
from broker.console.access import Role
from broker.console.sealing import Sealer
from broker.console.sessions import SessionLimits, begin_session, digest_secret
from broker.console.signin.codes import make_code_secret
from broker.console.signin.passwords import PasswordHasher
from broker.console.visits import SESSION_COOKIE
from broker.log import LogWriter
from broker.registry import versions
from broker.registry.packs import InstalledPack, PackShelf
from broker.store import upgrade_database
from broker.store.reviews import QuarantineRow, insert_quarantine
from deploy.authority.officers import create_person
from deploy.console_assets import ensure_console_assets
from deploy.local.pki import Pki
from deploy.local.processes import ServerProcess, find_free_port
from deploy.local.stack import LocalStack
from schemas.checkpoint import LogVerifier, write_verifier
from schemas.directory import HubKeys
from schemas.keys import KeyUse, generate_ed25519_jwk, public_part
from tests.support.authority import CHEAP as CHEAP_KEY
from tests.support.authority import FoundedAuthority
from tests.support.hub_api import set_role_password, with_login
from tests.support.logged_referrals import County, LoggedReferral, store_rows
from tests.support.servers import run_sql

ROOT: Final = Path(__file__).parents[2]
LOG_ORIGIN: Final = "log.example.org/console"
AGENCY: Final = "csc.marchshire"
LIMITS: Final = SessionLimits(timedelta(minutes=30), timedelta(hours=10), timedelta(minutes=10))
CHEAP: Final = PasswordHasher(memory_kib=64)


@dataclass(frozen=True, slots=True)
class Seeded:
    """An account that tests sign in with."""

    user_id: UUID
    name: str
    password: str = field(repr=False)
    code_secret: str = field(repr=False)
    role: Role
    agency: str | None = None

    def code(self) -> str:
        return pyotp.TOTP(self.code_secret).now()


@dataclass
class ConsoleSite:
    """The running console. ``run`` executes a coroutine with the database owner's connection, from a test without a loop."""

    url: str
    dsn: str = field(repr=False)
    folder: Path
    config_file: Path
    ca_file: Path
    certificate_file: Path
    process: ServerProcess
    log: LogVerifier
    sealer: Sealer
    people: dict[str, Seeded] = field(default_factory=dict)
    referrals: list[LoggedReferral] = field(default_factory=list)

    def project(self) -> None:
        """Make what was logged searchable, as the API's projector does."""

        async def catch_up() -> None:
            async with asyncpg.create_pool(self.dsn, min_size=1, max_size=2) as pool:
                await Projector(pool, [EventIndex()]).catch_up()

        with ThreadPoolExecutor(max_workers=1) as aside:
            aside.submit(asyncio.run, catch_up()).result(timeout=60)

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            connection = await asyncpg.connect(self.dsn, timeout=10)
            try:
                return await work(connection)
            finally:
                await connection.close(timeout=5)

        with ThreadPoolExecutor(max_workers=1) as aside:  # the caller may have an event loop of its own
            return aside.submit(asyncio.run, connected()).result(timeout=60)

    def fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        return self.run(lambda connection: connection.fetch(query, *values))

    def value(self, query: str, *values: Any) -> Any:
        return self.run(lambda connection: connection.fetchval(query, *values))

    def execute(self, query: str, *values: Any) -> None:
        self.run(lambda connection: connection.execute(query, *values))

    def events(self, kind: str, since: int = 0) -> list[dict[str, Any]]:
        """Return the log's events of a kind from a position on, in order."""
        rows = self.fetch(
            "SELECT p.event FROM log_entries e JOIN log_payloads p USING (event_id) WHERE e.kind = $1 AND e.position >= $2 ORDER BY e.position",
            kind,
            since,
        )
        return [json.loads(row["event"]) for row in rows]

    def log_size(self) -> int:
        return self.value("SELECT coalesce(max(size), 0) FROM log_checkpoints")

    def add_person(
        self, name: str, role: Role, *, agency: str | None = None, days: int | None = None, person_id: str | None = None
    ) -> Seeded:
        """Add an active account with a password and one-time codes; ``person_id`` is who they are in the directory."""
        person = self.run(
            lambda connection: _insert_person(connection, self.sealer, name, role, agency=agency, days=days)
        )
        if person_id is not None:
            self.execute("UPDATE console_users SET person_id = $2 WHERE user_id = $1", person.user_id, person_id)
        self.people[name] = person
        return person

    def new_session(self, person: Seeded, *, confirmed: bool = True) -> str:
        """Begin a session of a person and return its cookie."""

        async def begin(connection: asyncpg.Connection) -> str:
            secret, viewer = await begin_session(
                connection, person.user_id, LIMITS, datetime.now(UTC), method="password_code", browser="a test"
            )
            if not confirmed:
                await connection.execute(
                    "UPDATE console_sessions SET confirmed_at = confirmed_at - interval '1 day' WHERE session_id = $1",
                    viewer.session_id,
                )
            return secret

        return self.run(begin)

    def client(self, person: Seeded | None = None, *, confirmed: bool = True) -> httpx.Client:
        """Return a client without a browser, with a session's cookie where a person is given; it behaves as a same-origin browser would."""
        cookies = {SESSION_COOKIE: self.new_session(person, confirmed=confirmed)} if person else {}
        context = ssl.create_default_context(cafile=self.ca_file)
        headers = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        return httpx.Client(
            base_url=self.url, verify=context, cookies=cookies, headers=headers, timeout=20, trust_env=False
        )

    def post(self, client: httpx.Client, path: str, **fields: Any) -> httpx.Response:
        """Send a form as the session's own page would, with its token."""
        token = self.sealer.authenticate("form", digest_secret(client.cookies[SESSION_COOKIE]))
        return client.post(path, data={"form_token": token, **fields})

    def free_codes(self, person: Seeded) -> None:
        """Let a person's code of this half minute be used again."""
        self.execute("UPDATE console_users SET code_step = 0 WHERE user_id = $1", person.user_id)

    def forget_attempts(self) -> None:
        self.execute("DELETE FROM console_attempts")


async def _insert_person(
    connection: asyncpg.Connection, sealer: Sealer, name: str, role: Role, *, agency: str | None, days: int | None
) -> Seeded:
    now = datetime.now(UTC)
    user_id = UUID(bytes=secrets.token_bytes(16), version=4)
    password, secret = secrets.token_urlsafe(12), make_code_secret()
    expires = now + timedelta(days=days) if days else None
    await connection.execute(
        "INSERT INTO console_users (user_id, name, display_name, agency, state, expires_at, password_hash, code_secret, created_at, changed_at)"
        " VALUES ($1, $2, $3, $4, 'active', $5, $6, $7, $8, $8)",
        user_id,
        name,
        f"Test {name.replace('.', ' ')}",
        agency,
        expires,
        await CHEAP.hash_password(password),
        sealer.seal(f"code {user_id}", secret.encode()),
        now,
    )
    await connection.execute("INSERT INTO console_user_roles VALUES ($1, $2)", user_id, role.value)
    return Seeded(user_id, name, password, secret, role, agency)


async def found_directory(dsn: str, folder: Path, log_jwk: dict[str, Any]) -> Path:
    """Found an authority, put its first directory into the database, and return the trust file. The directory names the log's key."""
    authority = FoundedAuthority.found(folder)
    person = create_person(
        folder / "people", "jo", AGENCY, ("partnership_auditor",), "a long passphrase of hers", cost=CHEAP_KEY
    )
    authority.change(
        hub=HubKeys(log_origin=LOG_ORIGIN, log_verifier=write_verifier(LOG_ORIGIN, public_part(log_jwk))),
        people=(person,),
    )
    signed = authority.sign()
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await versions.insert_directory(connection, signed.body, signed.directory)
    finally:
        await connection.close(timeout=5)
    return authority.folder / "trust.json"


async def log_referrals(connection: asyncpg.Connection, log: LogWriter, count: int = 40) -> list[LoggedReferral]:
    """Store referrals of a made-up county, log their events as the hub does, and make them searchable."""
    found = list(County(seed=5).referrals(count))
    await store_rows(connection, found)
    events = [event for referral in found for event, _ in referral.events]
    async with connection.transaction():
        await log.append(connection, events, at=datetime.now(UTC))
    await PackShelf(InstalledPack.load(None, None)).lodge_installed(connection, datetime.now(UTC))
    return found


async def quarantine_message(connection: asyncpg.Connection) -> UUID:
    """Put a message into quarantine and return its id."""
    quarantine_id = UUID(bytes=secrets.token_bytes(16), version=4)
    row = QuarantineRow(
        quarantine_id, AGENCY, "claimed-1", "referral", "safelane.intake.high", secrets.token_bytes(32), b"{}",
        "signature-invalid", "the signature does not verify", None, security=True, at=datetime.now(UTC), event_id=uuid4(),
    )  # fmt: skip
    await insert_quarantine(connection, [row])
    return quarantine_id


async def record_consent(connection: asyncpg.Connection) -> str:
    """Store an entry of a consent, and return the consent's id."""
    consent_id, digest = f"con-{secrets.token_hex(8)}", secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    await connection.execute(
        "INSERT INTO signed_objects (object_digest, notice, type, sender, received_at, event_id, body)"
        " VALUES ($1, '', 'consent', $2, $3, $4, '')",
        digest,
        AGENCY,
        now,
        uuid4(),
    )
    record = {
        "giver": "child",
        "capacity": "gillick",
        "assessor": "p-20",
        "scope": {"purposes": ["early_help_service"]},
    }
    await connection.execute(
        "INSERT INTO consents (object_digest, consent_id, recorded_by, state, record, tokens, received_at)"
        " VALUES ($1, $2, $3, 'given', $4, '{}', $5)",
        digest,
        consent_id,
        AGENCY,
        json.dumps(record),
        now,
    )
    return consent_id


async def ask_chronology(connection: asyncpg.Connection, approver: str = "jo") -> str:
    """Register one person's approval of a question about a child, and return the digest of the child's token."""
    subject, digest = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    now = datetime.now(UTC)
    await connection.execute(
        "INSERT INTO signed_objects (object_digest, notice, type, sender, received_at, event_id, body)"
        " VALUES ($1, '', 'approval', $2, $3, $4, '')",
        digest,
        AGENCY,
        now,
        uuid4(),
    )
    await connection.execute(
        "INSERT INTO approvals (object_digest, approval_id, action, approver, approver_agency, approver_role, compartments, sections,"
        " reason_code, issued_at, expires_at, single_use, received_at, subject_digest)"
        " VALUES ($1, $2, 'chronology', $3, $4, 'partnership_auditor', '{}', '{}', 'serious_case_review', $5, $6, true, $5, $7)",
        digest,
        f"approval-{secrets.token_hex(8)}",
        approver,
        AGENCY,
        now,
        now + timedelta(hours=24),
        subject,
    )
    return subject


def write_console_config(
    folder: Path, dsn: str, pki: Pki, trust_file: Path, jwk: dict[str, Any], **console: Any
) -> tuple[Path, str, Sealer, LogVerifier]:
    """Write a hub configuration whose console part works; return its file, the address, the sealer and the log's verifier."""
    folder.mkdir(parents=True, exist_ok=True)
    part, sealer = write_console_part(folder, dsn, pki, **console)
    (folder / "log.jwk").write_text(json.dumps(jwk))
    unused = {"ca_file": "unused", "cert_file": "unused", "key_file": "unused"}
    document = {
        "environment": "test",
        "trust_file": str(trust_file),
        "postgres": {"worker_dsn_file": "unused", "api_dsn_file": "unused", "console_dsn_file": "console.dsn"},
        "amqp": {"port": 5671, "vhost": "unused", "name": "hub", **unused},
        "log": {"origin": LOG_ORIGIN, "key_file": "log.jwk"},
        "console": part,
    }
    path = folder / "hub.yaml"
    path.write_text(yaml.safe_dump(document))
    return path, part["public_url"], sealer, LogVerifier.from_text(write_verifier(LOG_ORIGIN, public_part(jwk)))


def write_console_part(folder: Path, dsn: str, pki: Pki, **console: Any) -> tuple[dict[str, Any], Sealer]:
    """Write a console's secret and ``console.dsn`` into ``folder``; return the console part of a hub's configuration, and the sealer."""
    server = pki.issue_server("console")
    secret = secrets.token_bytes(32)
    port = find_free_port()
    (folder / "console.secret").write_text(base64.b64encode(secret).decode())
    (folder / "console.dsn").write_text(with_login(dsn, "safelane_console"))
    part = {
        "public_url": f"https://localhost:{port}",
        "listen_port": port,
        "certificate_file": str(server.cert_file),
        "key_file": str(server.key_file),
        "secret_file": "console.secret",
        "partnership": "Marchshire partnership",
        **console,
    }
    return part, Sealer(secret)


def start_console(config_file: Path, url: str, folder: Path, ca_file: Path) -> ServerProcess:
    """Start the program and wait until it answers."""
    process = ServerProcess("console", pid_file=folder / "console.pid", log_file=folder / "console.log")
    command = [sys.executable, "-m", "deploy.cli", "hub", "console", "--config", str(config_file)]
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    process.launch(command, env=environment, cwd=ROOT)
    context = ssl.create_default_context(cafile=ca_file)

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/healthz", verify=context, timeout=2.0, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    process.await_ready(answers, seconds=60)
    return process


@pytest.fixture(scope="session")
def console(postgres: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    """A running console, and active accounts ``auditor``, ``ig-officer``, ``operator``, ``inspector`` and ``agency-auditor``."""
    ensure_console_assets(print)
    folder = tmp_path_factory.mktemp("console")
    name = f"console_{secrets.token_hex(6)}"
    admin = postgres.postgres.dsn("postgres")
    dsn = postgres.postgres.dsn(name)

    async def prepare() -> None:
        await run_sql(admin, f'CREATE DATABASE "{name}"')
        await upgrade_database(dsn)
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            await set_role_password(connection, "safelane_console")
        finally:
            await connection.close(timeout=5)

    with ThreadPoolExecutor(max_workers=1) as aside:
        aside.submit(asyncio.run, prepare()).result(timeout=120)
    pki = Pki(folder / "pki")
    log_jwk = generate_ed25519_jwk(KeyUse.LOG)
    with ThreadPoolExecutor(max_workers=1) as aside:
        trust_file = aside.submit(asyncio.run, found_directory(dsn, folder, log_jwk)).result(timeout=120)
    config_file, url, sealer, log = write_console_config(folder, dsn, pki, trust_file, log_jwk)
    process = start_console(config_file, url, folder, pki.ca_file)
    site = ConsoleSite(
        url=url,
        dsn=dsn,
        folder=folder,
        config_file=config_file,
        ca_file=pki.ca_file,
        certificate_file=pki.issue_server("console").cert_file,
        process=process,
        log=log,
        sealer=sealer,
    )
    try:
        site.add_person("auditor", Role.AUDITOR)
        site.add_person("ig-officer", Role.IG_OFFICER, person_id="ann")
        site.add_person("operator", Role.OPERATOR)
        site.add_person("inspector", Role.INSPECTOR, days=14)
        site.add_person("agency-auditor", Role.AUDITOR, agency=AGENCY)
        writer = LogWriter(LOG_ORIGIN, log_jwk)
        site.referrals = site.run(lambda connection: log_referrals(connection, writer))
        site.project()
        yield site
    finally:
        process.end()
        with ThreadPoolExecutor(max_workers=1) as aside:
            aside.submit(asyncio.run, run_sql(admin, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')).result(
                timeout=60
            )


def run_users_command(site: ConsoleSite, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``safelane hub users …`` on this console's configuration."""
    command = [sys.executable, "-m", "deploy.cli", "hub", "users", *arguments, "--config", str(site.config_file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
