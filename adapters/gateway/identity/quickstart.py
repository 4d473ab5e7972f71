"""A first configuration for a gateway: one command writes it, with the key file and the local token, and says what to do next."""

import secrets
from pathlib import Path

import yaml

from adapters.gateway.config import GatewayConfig, load_config
from adapters.gateway.durable_files import write_durably
from adapters.gateway.identity.sealed_secrets import write_new_key_file
from adapters.gateway.identity.trust import read_trust_file
from schemas.errors import ConfigInvalid

CONFIG_FILE = "gateway.yaml"
TOKEN_BYTES = 32


def write_first_configuration(
    folder: Path, *, agency: str, hub_url: str, trust_file: Path, port: int = 8600
) -> GatewayConfig:
    """Write ``gateway.yaml``, a key-encryption key, a local token and a copy of the trust file into ``folder``.

    Raises:
        ConfigInvalid: there is a configuration already, or the trust file, agency or URL is not of its form.
    """
    path = folder / CONFIG_FILE
    if path.exists():
        raise ConfigInvalid("there is a configuration already", field=CONFIG_FILE)
    read_trust_file(trust_file)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(folder / "trust.json", trust_file.read_bytes())
    write_new_key_file(folder / "keystore.key")
    write_durably(folder / "api.token", secrets.token_urlsafe(TOKEN_BYTES).encode() + b"\n")
    document = {
        "environment": "production",
        "trust_file": "trust.json",
        "hub_url": hub_url,
        "listen_port": port,
        "agencies": [
            {
                "agency": agency,
                "data_dir": "data",
                "key_encryption_key_file": "keystore.key",
                "api_token_file": "api.token",
                "drop_folder": {"path": "drop"},
            }
        ],
    }
    text = "# Every field is described by: safelane gateway config\n" + yaml.safe_dump(document, sort_keys=False)
    write_durably(path, text.encode())
    try:
        return load_config(path)
    except ConfigInvalid:
        path.unlink()
        raise
