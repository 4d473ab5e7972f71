"""The configuration is refused as a whole when a field is wrong, and every field is described."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.gateway.config import describe_fields, load_config
from schemas.errors import ConfigInvalid


def write(folder: Path, **changes: Any) -> Path:
    document: dict[str, Any] = {
        "environment": "test",
        "trust_file": "trust.json",
        "hub_url": "https://hub.example.org:8443",
        "agencies": [agency("gp.millbrook")],
    }
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(document | changes))
    return path


def agency(agency_id: str, **changes: Any) -> dict[str, Any]:
    entry = {
        "agency": agency_id,
        "data_dir": f"{agency_id}/data",
        "key_encryption_key_file": "/run/secrets/kek",
        "api_token_file": f"{agency_id}/token",
    }
    return {k: v for k, v in (entry | changes).items() if v is not None}


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    entry = agency("gp.millbrook", drop_folder={"path": "drop"}, inbox={"folder": {"out_folder": "out"}})
    config = load_config(write(tmp_path, agencies=[entry]))
    [found] = config.agencies
    assert config.trust_file == tmp_path / "trust.json"
    assert found.data_dir == tmp_path / "gp.millbrook" / "data"
    assert found.key_encryption_key_file == Path("/run/secrets/kek")
    assert found.drop_folder is not None
    assert found.drop_folder.path == tmp_path / "drop"
    assert found.inbox.folder is not None
    assert found.inbox.folder.out_folder == tmp_path / "out"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("hub_url", {"hub_url": "http://hub.example.org"}),
        ("hub_url", {"hub_url": "https://hub.example.org/path"}),
        ("listen_host", {"listen_host": "0.0.0.0"}),  # noqa: S104 - refused
        ("listen_prot", {"listen_prot": 1}),
        ("agencies", {"agencies": []}),
        ("agencies.0", {"agencies": [agency("gp.millbrook", passphrase_file="x")]}),
        ("agencies.0", {"agencies": [agency("gp.millbrook", key_encryption_key_file=None)]}),
        ("agencies.0.agency", {"agencies": [agency("Not An Id")]}),
        ("keys", {"keys": {"rotation": "P14D"}}),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        load_config(write(tmp_path, **changes))
    assert caught.value.field == field


@pytest.mark.parametrize("shared", ["agency", "data_dir", "api_token_file"])
def test_hosted_agencies_are_kept_apart(tmp_path: Path, shared: str) -> None:
    first, second = agency("gp.millbrook"), agency("school.oakfield")
    load_config(write(tmp_path, agencies=[first, second]))
    with pytest.raises(ConfigInvalid, match="share"):
        load_config(write(tmp_path, agencies=[first, second | {shared: first[shared]}]))


def test_production_refuses_an_injected_clock(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="production"):
        load_config(write(tmp_path, environment="production", clock_file="clock"))


@pytest.mark.parametrize("text", ["- a list", "a: [", "\x00"], ids=["list", "broken", "binary"])
def test_what_is_not_a_configuration_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid):
        load_config(path)
    with pytest.raises(ConfigInvalid):
        load_config(tmp_path / "nowhere.yaml")


def test_several_agencies_must_be_told_apart(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, agencies=[agency("gp.millbrook"), agency("school.oakfield")]))
    assert config.find_agency("school.oakfield").agency == "school.oakfield"
    for name in (None, "nobody"):
        with pytest.raises(ConfigInvalid):
            config.find_agency(name)


def test_every_field_is_described() -> None:
    described = describe_fields()
    assert [path for path, text in described if not text] == []
    paths = [path for path, _ in described]
    assert "agencies[].drop_folder.settle" in paths
    assert "sending.accept_alarm" in paths
