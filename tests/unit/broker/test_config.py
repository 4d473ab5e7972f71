"""The hub's configuration: one threshold for every way to a report, and old places of it refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from broker.config import load_config
from broker.reports.suppression import DEFAULT_THRESHOLD
from schemas.errors import ConfigInvalid

TLS = {"ca_file": "unused", "cert_file": "unused", "key_file": "unused"}
WEB = {"public_url": "https://hub.example.org", "certificate_file": "unused", "key_file": "unused"}


def write(folder: Path, **parts: Any) -> Path:
    document = {
        "environment": "test",
        "trust_file": "trust.json",
        "postgres": {"worker_dsn_file": "unused", "api_dsn_file": "unused"},
        "amqp": {"port": 5671, "vhost": "unused", "name": "hub", **TLS},
        "log": {"origin": "log.example.org/test", "key_file": "log.jwk"},
        **parts,
    }
    path = folder / "hub.yaml"
    path.write_text(json.dumps(document))  # JSON is YAML
    return path


def test_small_numbers_are_hidden_below_one_threshold(tmp_path: Path) -> None:
    assert load_config(write(tmp_path)).reports.threshold == DEFAULT_THRESHOLD
    assert load_config(write(tmp_path, reports={"threshold": 7})).reports.threshold == 7
    with pytest.raises(ConfigInvalid, match="less_than_equal"):
        load_config(write(tmp_path, reports={"threshold": 101}))


@pytest.mark.parametrize("part", ["api", "console"])
def test_a_threshold_of_its_own_is_refused_by_name(tmp_path: Path, part: str) -> None:
    settings = WEB | ({"secret_file": "unused"} if part == "console" else {})
    assert getattr(load_config(write(tmp_path, **{part: settings})), part) is not None
    with pytest.raises(ConfigInvalid) as refused:
        load_config(write(tmp_path, **{part: settings | {"report_threshold": 3}}))
    assert refused.value.field == f"hub.yaml:{part}.report_threshold"
