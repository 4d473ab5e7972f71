"""The files that an operator installs: they parse, name commands and metrics that exist, and keep what hardens them."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.gateway.api.metrics import GatewayCollector
from adapters.gateway.config import GatewayConfig
from broker.amqp.topology import INTAKE_QUEUES, QUARANTINE_QUEUE
from broker.api.metrics import ApiMetrics
from broker.config import HubConfig
from broker.store import migrations
from deploy.local import postgres as local_postgres
from deploy.local.rabbitmq import _CONFIG as LOCAL_RABBITMQ
from schemas.plain_yaml import PlainLoader
from tests.support.command_lines import find_fault

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    document
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
PODS = {
    document["metadata"]["name"]: document["spec"]["template"]["spec"]
    for document in MANIFESTS
    if document["kind"] in ("Deployment", "Job")
} | {
    document["metadata"]["name"]: document["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    for document in MANIFESTS
    if document["kind"] == "CronJob"
}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in MANIFESTS if document["kind"] == kind]


def read_rabbitmq(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(map(str.strip, line.split("=", 1)) for line in lines)  # type: ignore[misc]


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_yaml_parses(path: Path) -> None:
    assert list(yaml.load_all(path.read_text(), PlainLoader))


# --- compose ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_compose_service_is_hardened(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert service["mem_limit"]
    assert service["cpus"]
    assert service["pids_limit"]
    assert service["ulimits"] == {"core": 0}
    assert not service.get("privileged")
    assert "healthcheck" in service or service["restart"] == "no"
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_compose_image_and_command_exist(name: str) -> None:
    service = COMPOSE["services"][name]
    tag = service["image"].rpartition(":")[2]
    assert re.match(r"\d", tag)
    if service["image"].startswith("safelane:"):
        assert find_fault(shlex.join(["safelane", *service["command"]])) is None
        check = service.get("healthcheck", {}).get("test", ["CMD", "python"])
        assert check[1] == "python" or find_fault(shlex.join(check[1:])) is None
    else:
        assert service["image"].startswith("docker.io/library/")


def test_compose_mounts_exist_and_hold_no_secret() -> None:
    mounts = [m.split(":") for s in COMPOSE["services"].values() for m in s.get("volumes", ())]
    for source, _, *mode in mounts:
        if source in COMPOSE["volumes"]:
            continue
        assert mode == ["ro"], source
        assert source.startswith("./secrets/") or (DEPLOY / "compose" / source).exists(), source
    assert not (DEPLOY / "compose" / "secrets").exists()


def test_data_network_reaches_nobody_outside() -> None:
    assert COMPOSE["networks"]["data"] == {"internal": True}
    assert COMPOSE["services"]["postgres"]["networks"] == ["data"]
    assert "data" not in COMPOSE["services"]["gateway"]["networks"]


def test_compose_waits_for_migrations() -> None:
    for name in ("hub-api", "hub-console", "hub-worker", "hub-retention"):
        wanted = COMPOSE["services"][name]["depends_on"]
        assert wanted == {"hub-init": {"condition": "service_completed_successfully"}}


def test_example_configurations_are_accepted() -> None:
    hub = HubConfig.model_validate(yaml.safe_load((DEPLOY / "compose" / "hub.yaml").read_text()))
    assert hub.environment == "production"
    gateway = GatewayConfig.model_validate(yaml.safe_load((DEPLOY / "compose" / "gateway.yaml").read_text()))
    assert gateway.environment == "production"


def test_image_installs_the_lock_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "compose" / "Containerfile").read_text()
    assert "-c requirements.lock" in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["safelane"]' in text
    assert all(":latest" not in line and ":" in line for line in text.splitlines() if line.startswith("FROM"))


# --- Kubernetes ------------------------------------------------------------------------------------------------------------


def test_kustomization_lists_every_manifest() -> None:
    (kustomization,) = of_kind("Kustomization")
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files


@pytest.mark.parametrize("name", PODS)
def test_pod_is_hardened(name: str) -> None:
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}
        assert container["image"] == "safelane"
        assert find_fault(shlex.join(["safelane", *container["args"]])) is None


def test_api_probes_ask_what_the_api_answers() -> None:
    from broker.api.health_routes import router

    paths = {getattr(route, "path", None) for route in router.routes}
    (api,) = PODS["safelane-hub-api"]["containers"]
    probes = {name: api[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["path"] for probe in probes.values()} <= paths
    assert probes["livenessProbe"]["path"] == "/healthz"  # not /readyz: restarting does not bring PostgreSQL back
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert {probe["scheme"] for probe in probes.values()} == {"HTTPS"}


def test_console_probes_ask_what_the_console_answers() -> None:
    from broker.console.app import ground

    (console,) = PODS["safelane-hub-console"]["containers"]
    probes = {name: console[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["path"] for probe in probes.values()} <= {policy.path for policy in ground.policies}
    assert probes["livenessProbe"]["path"] == "/healthz"
    assert {probe["scheme"] for probe in probes.values()} == {"HTTPS"}


def test_traffic_is_denied_by_default() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in of_kind("NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert not any("to" not in rule for policy in policies.values() for rule in policy.get("egress", ()))


def test_every_deployment_has_two_replicas_and_a_disruption_budget() -> None:
    budgets = {str(budget["spec"]["selector"]["matchLabels"]) for budget in of_kind("PodDisruptionBudget")}
    for deployment in of_kind("Deployment"):
        assert deployment["spec"]["replicas"] >= 2
        assert str(deployment["spec"]["selector"]["matchLabels"]) in budgets


def test_only_the_migration_sees_the_owners_secret_and_only_retention_the_erasers() -> None:
    secrets = {
        name: {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        for name, pod in PODS.items()
    }
    assert secrets.pop("safelane-hub-init") == {"safelane-hub-owner"}
    assert secrets.pop("safelane-hub-retention") == {"safelane-hub-eraser"}
    assert set(map(frozenset, secrets.values())) == {frozenset({"safelane-hub"})}


def test_namespace_enforces_restricted_pods() -> None:
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


# --- RabbitMQ and PostgreSQL ------------------------------------------------------------------------------------------------

ITS_OWN = re.compile(
    r"^(listeners\.ssl|management\.ssl\.(ip|port)|.*\.(cacertfile|certfile|keyfile)|load_definitions|disk_free|log)"
)


def test_rabbitmq_settings_are_those_that_tests_run_with() -> None:
    local = read_rabbitmq(LOCAL_RABBITMQ)
    production = read_rabbitmq((DEPLOY / "rabbitmq" / "rabbitmq.conf").read_text())
    for key, value in local.items():
        if not ITS_OWN.match(key):
            assert production.get(key) == value, key
    assert production["ssl_options.versions.1"] == "tlsv1.3"
    assert not any(key.startswith("listeners.tcp.") for key in production)


def test_rabbitmq_definitions_let_nobody_in_by_password() -> None:
    definitions = json.loads((DEPLOY / "rabbitmq" / "definitions.json").read_text())
    assert [user["password_hash"] for user in definitions["users"]] == ["", ""]
    assert {p["user"] for p in definitions["permissions"]} == {"hub", "safelane-admin"}
    assert all(
        p[right] == r"^safelane\." for p in definitions["permissions"] for right in ("configure", "write", "read")
    )


def test_postgresql_commits_durably_encrypts_and_logs_no_value() -> None:
    text = (DEPLOY / "postgres" / "postgresql.conf").read_text()
    settings = dict(re.findall(r"^(\w+) = '?([^'\n]+)'?$", text, re.MULTILINE))
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "ssl": "on"}
    assert wanted.items() <= settings.items()
    assert settings["ssl_min_protocol_version"] == "TLSv1.3"
    local = Path(local_postgres.__file__).read_text()
    quiet = dict(
        re.findall(r'"(log_min_messages|log_min_error_statement|log_parameter\w+|log_error_verbosity) = (\w+)', local)
    )
    assert len(quiet) == 4
    assert quiet.items() <= settings.items()


def test_only_known_roles_enter_postgresql_and_only_over_tls() -> None:
    lines = (DEPLOY / "postgres" / "pg_hba.conf").read_text().splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    assert [row[0] for row in rows] == ["local", "hostssl", "hostssl", "host"]
    assert rows[-1][-1] == "reject"
    made = "".join(path.read_text() for path in (Path(migrations.__path__[0]) / "versions").glob("*.py"))
    made += (DEPLOY / "postgres" / "roles.sql").read_text()
    assert all(role in made for role in rows[1][2].split(","))


# --- systemd ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_unit_is_hardened_and_runs_a_real_command(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    service = dict(unit["Service"])
    assert find_fault(re.sub(r"^\S+/safelane", "safelane", service["ExecStart"])) is None
    assert service["User"] == ("safelane-eraser" if path.stem == "safelane-hub-retention" else "safelane")
    assert service["CapabilityBoundingSet"] == ""
    assert service["Restart"] == "always"
    assert service["RestartPreventExitStatus"] == "4"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    wanted = {"ProtectSystem": "strict", "LimitCORE": "0", "MemorySwapMax": "0", "UMask": "0077"}
    assert wanted.items() <= service.items()
    yes = (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectKernelModules",
        "RestrictNamespaces",
    )
    assert all(service[name] == "yes" for name in yes)


# --- Grafana ----------------------------------------------------------------------------------------------------------------

RABBITMQ_METRICS = {
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_detailed_queue_messages",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_disk_space_available_limit_bytes",
    "rabbitmq_global_messages_confirmed_total",
    "rabbitmq_global_messages_unroutable_returned_total",
}
"""Read off a node (3.10, plugin rabbitmq_prometheus); the detailed ones come from /metrics/detailed."""


@pytest.fixture
def metrics() -> ApiMetrics:
    """The API's metrics, each with a series, so that all of their names show."""
    metrics = ApiMetrics()
    metrics.count_request("/v1/plan", 401, 0.1)
    metrics.planned.labels(outcome="full").inc()
    metrics.ready.labels(check="log").set(1)
    metrics.projection_behind.labels(projection="audit_events").set(0)
    metrics.projection_lag.labels(projection="audit_events").set(0)
    return metrics


def list_samples(metrics: ApiMetrics) -> set[str]:
    return {sample.name for family in metrics.registry.collect() for sample in family.samples}


def list_named(expressions: list[str]) -> set[str]:
    return {name for text in expressions for name in re.findall(r"\b(?:safelane|rabbitmq)_\w+", text)}


def test_every_metric_on_the_dashboard_exists(metrics: ApiMetrics) -> None:
    ours = list_samples(metrics)
    dashboard = json.loads((DEPLOY / "grafana" / "safelane-hub.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = list_named(expressions)
    assert named <= ours | RABBITMQ_METRICS
    shown = {name.rsplit("_", 1)[0] for name in named}
    families = {family.name for family in metrics.registry.collect()}
    assert not [family for family in families if family not in shown | named], "a metric of ours is on no panel"
    used = {label for text in expressions for label in re.findall(r'(\w+)=~?"', text)}
    assert used <= {"status", "queue", "job"}


def list_gateway_metrics() -> set[str]:
    """Return the names that a gateway without agencies gives: each with its help, and no sample."""
    return {metric.name for metric in GatewayCollector(()).collect()}


@pytest.mark.parametrize("program", ["hub", "gateway"])
def test_every_alert_reads_what_exists_and_names_its_page(metrics: ApiMetrics, program: str) -> None:
    loaded = yaml.safe_load((DEPLOY / "prometheus" / f"safelane-{program}.rules.yaml").read_text())
    rules = [rule for group in loaded["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    known = list_samples(metrics) | RABBITMQ_METRICS if program == "hub" else list_gateway_metrics()
    assert list_named([rule["expr"] for rule in rules]) <= known
    for rule in rules:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        titles = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}, rule[
            "alert"
        ]
        assert rule["annotations"]["summary"].endswith(".")
    queues = {queue for rule in rules for queue in re.findall(r'queue="([^"]+)"', rule["expr"])}
    assert queues == ({*INTAKE_QUEUES.values(), QUARANTINE_QUEUE} if program == "hub" else set())


def test_dashboard_panels_do_not_overlap() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "safelane-hub.json").read_text())
    seen: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not cells & seen
        seen |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
