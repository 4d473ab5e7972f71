"""The embedded RabbitMQ node: Debian's server as installed, with ports, data, logs, cookie, plugins and epmd of its own.

The server's own script is run, not Debian's wrapper, which changes to the ``rabbitmq`` user and reads the machine's configuration. Users enter
with a client certificate over TLS 1.3 (mechanism EXTERNAL), exactly as in production; only the management API takes a password.
"""

import json
import os
import re
import shutil
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx

from broker.amqp.administration import AdministrationSettings
from broker.amqp.topology import hub_permissions
from deploy.local.files import read_or_make_secret, write_secret
from deploy.local.pki import Pki
from deploy.local.processes import ServerProcess, accepts_connections
from deploy.local.program_missing import ProgramMissing
from schemas.errors import ConfigInvalid

ADMIN_USER = "safelane-admin"
VHOST = "safelane"
PLUGINS = ("rabbitmq_auth_mechanism_ssl", "rabbitmq_management")

_SERVER_FOLDERS = (
    "/usr/lib/rabbitmq/lib",
    "/opt/rabbitmq",
    "/usr/local/lib/rabbitmq/lib",
    "/opt/homebrew/opt/rabbitmq",
    "/usr/local/opt/rabbitmq",
)

_CONFIG = """\
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{amqps}
ssl_options.cacertfile = {ca}
ssl_options.certfile = {cert}
ssl_options.keyfile = {key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
heartbeat = 20
max_message_size = 33554432
consumer_timeout = 1800000
vm_memory_high_watermark.relative = 0.4
disk_free_limit.absolute = 200MB
management.ssl.ip = 127.0.0.1
management.ssl.port = {management}
management.ssl.cacertfile = {ca}
management.ssl.certfile = {cert}
management.ssl.keyfile = {key}
management.ssl.versions.1 = tlsv1.3
management_agent.disable_metrics_collector = true
load_definitions = {definitions}
log.console = false
log.file = {log}
log.file.level = warning
raft.wal_max_size_bytes = 67108864
"""


class EmbeddedRabbit:
    """One private RabbitMQ node on loopback."""

    def __init__(self, folder: Path, *, pki: Pki, ports: dict[str, int]) -> None:
        """Keep the folder and the four ports (``amqps``, ``management``, ``distribution``, ``epmd``); nothing is started."""
        self._folder = folder.resolve()
        self._pki = pki
        self._ports = ports
        self._node = ServerProcess("RabbitMQ", pid_file=folder / "pid", log_file=folder / "log" / "start.log")
        self._epmd = ServerProcess("epmd", pid_file=folder / "epmd.pid", log_file=folder / "log" / "epmd.log")

    @property
    def port(self) -> int:
        """Loopback port for AMQP over TLS."""
        return self._ports["amqps"]

    @property
    def pid(self) -> int | None:
        """Process id of the node while it runs."""
        return self._node.pid

    @property
    def folder(self) -> Path:
        """Folder with data and logs."""
        return self._folder

    def administration_settings(self, vhost: str = VHOST) -> AdministrationSettings:
        """Return the way into the management API."""
        return AdministrationSettings(
            url=f"https://127.0.0.1:{self._ports['management']}",
            user=ADMIN_USER,
            password=read_or_make_secret(self._folder / "admin.secret"),
            ca_file=self._pki.ca_file,
            vhost=vhost,
        )

    def launch(self) -> None:
        """Write the configuration and start the node; ``await_ready`` tells when it serves. Safe after a kill.

        Raises:
            ConfigInvalid: RabbitMQ is not installed.
        """
        server = find_server()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._configure()
        if self._node.pid is not None:
            return
        if self._epmd.pid is None:
            epmd = shutil.which("epmd") or _find_epmd()
            self._epmd.launch(
                [epmd, "-port", str(self._ports["epmd"]), "-address", "127.0.0.1"],
                env=_base_environment(),
                cwd=self._folder,
            )
            self._epmd.await_ready(lambda: accepts_connections(self._ports["epmd"]), seconds=10)
        self._node.launch([str(server)], env=self._environment(), cwd=self._folder)

    def await_ready(self, *, seconds: float = 60.0) -> None:
        """Wait until AMQP answers and the virtual host is there; raise ``StartFailed`` when that takes longer than ``seconds``."""
        self._node.await_ready(lambda: accepts_connections(self.port) and self._knows_vhost(), seconds=seconds)

    def _knows_vhost(self) -> bool:
        """Return whether the definitions are loaded: ports may open a moment before."""
        admin = self.administration_settings()
        context = ssl.create_default_context(cafile=str(admin.ca_file))
        try:
            answer = httpx.get(
                f"{admin.url}/api/vhosts/{admin.vhost}",
                auth=(admin.user, admin.password.get_secret_value()),
                verify=context,
                timeout=2,
                trust_env=False,
            )
        except httpx.HTTPError:
            return False
        return answer.is_success

    def stop(self) -> None:
        """Stop the node in order, then epmd."""
        self._node.end(sign=signal.SIGTERM, seconds=30)
        self._epmd.end(sign=signal.SIGTERM, seconds=5)

    def kill(self) -> None:
        """Kill the node and epmd, as a power cut would. An epmd that lived on would keep its port from the next start, which would then choose another, and
        Erlang would start a daemon of its own there, which nobody ends."""
        self._node.kill()
        self._epmd.kill()

    def destroy(self) -> None:
        """Kill and remove everything."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _configure(self) -> None:
        folder = self._folder
        for name in ("home", "data", "log", "generated"):
            (folder / name).mkdir(exist_ok=True)
        server = self._pki.issue_server("rabbitmq")
        definitions = folder / "definitions.json"
        admin = self.administration_settings()
        write_secret(
            definitions,
            json.dumps(
                {
                    "vhosts": [{"name": VHOST}],
                    "users": [
                        {"name": ADMIN_USER, "password": admin.password.get_secret_value(), "tags": "administrator"}
                    ],
                    "permissions": [{"user": ADMIN_USER, "vhost": VHOST, **hub_permissions()}],
                }
            ),
        )
        (folder / "rabbitmq.conf").write_text(
            _CONFIG.format(
                amqps=self._ports["amqps"],
                management=self._ports["management"],
                ca=server.ca_file.resolve(),
                cert=server.cert_file.resolve(),
                key=server.key_file.resolve(),
                definitions=definitions,
                log=folder / "log" / "rabbitmq.log",
            )
        )
        (folder / "enabled_plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        (folder / "rabbitmq-env.conf").write_text("")  # so that the machine's own is not read
        cookie = folder / "home" / ".erlang.cookie"
        if not cookie.exists():
            write_secret(cookie, read_or_make_secret(folder / "cookie.secret"))
            cookie.chmod(0o400)

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        own = {
            "HOME": folder / "home",
            "RABBITMQ_NODENAME": f"safelane-{self._ports['amqps']}@localhost",
            "RABBITMQ_CONF_ENV_FILE": folder / "rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": folder / "rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": folder / "advanced.config",
            "RABBITMQ_MNESIA_BASE": folder / "data",
            "RABBITMQ_LOG_BASE": folder / "log",
            "RABBITMQ_ENABLED_PLUGINS_FILE": folder / "enabled_plugins",
            "RABBITMQ_GENERATED_CONFIG_DIR": folder / "generated",
            "RABBITMQ_DIST_PORT": self._ports["distribution"],
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": self._ports["epmd"],
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": "/dev/null",  # a dump holds messages
            # The script then becomes the server instead of its parent, so that the pid is the server's own. There is no NOTIFY_SOCKET.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        return _base_environment() | {name: str(value) for name, value in own.items()}


def find_server() -> Path:
    """Return the newest installed ``rabbitmq-server`` script that is the server's own; raise ``ProgramMissing`` when there is none."""
    found = sorted(_candidates(), key=_version, reverse=True)
    if not found:
        raise ProgramMissing(
            "RabbitMQ is not installed. On Debian or Ubuntu: sudo apt-get install --no-install-recommends rabbitmq-server",
            field="rabbitmq",
        )
    return found[0]


def _candidates() -> Iterator[Path]:
    home = os.environ.get("RABBITMQ_HOME")
    folders = [Path(home)] if home else [Path(name) for name in _SERVER_FOLDERS]
    for folder in folders:
        for script in (folder / "sbin" / "rabbitmq-server", *folder.glob("rabbitmq_server-*/sbin/rabbitmq-server")):
            if script.exists():
                yield script


def _version(script: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", script.parent.parent.name))


def _find_epmd() -> str:
    for folder in (
        Path("/usr/lib/erlang"),
        Path("/usr/lib64/erlang"),
        Path("/opt/homebrew/lib/erlang"),
        Path("/usr/local/lib/erlang"),
    ):
        for program in (*folder.glob("bin/epmd"), *folder.glob("erts-*/bin/epmd")):
            return str(program)
    raise ConfigInvalid("Erlang's epmd is not installed: it comes with RabbitMQ", field="rabbitmq")


def _base_environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}
