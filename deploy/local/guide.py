"""What ``make up`` prints: where everything is, and what to try first."""

from pathlib import Path

from deploy.local.local_partnership import LocalPartnership
from deploy.local.sample_set import BUNDLED


def describe_running(local: LocalPartnership, root: Path) -> str:
    """Return the text for people after a start: addresses, tokens' places, and commands that work as they stand."""
    sender = local.gateways[0]
    agency = sender.agencies[0]
    config = _relative(sender.config_file)
    sample = _relative(BUNDLED / "police-ppn-json" / "ppn-0041877-s47-siblings.json")
    hub = _relative(local.hub.config_file)
    gateways = "\n".join(
        f"  {gateway.name:12} http://127.0.0.1:{gateway.config.listen_port}  {', '.join(a.id for a in gateway.agencies)}"
        for gateway in local.gateways
    )
    return f"""
Running. The hub's API is {local.hub.url}, and these gateways listen on this machine:
{gateways}

Try, from this folder:
  .venv/bin/safelane gateway plan {sample} --config {config} --agency {agency.id}
  .venv/bin/safelane gateway send {sample} --config {config} --agency {agency.id}
  .venv/bin/safelane gateway status --config {config} --agency {agency.id}
  .venv/bin/safelane hub status --config {hub}
  ls {_relative(root / "received")}/*/inbox        what each agency received, as PDF and JSON

Or drop a file into {_relative(sender.root / agency.id / "drop")}/ and look into done/ and failed/ there.
Logs: {_relative(local.hub.root / "logs")}/ and {_relative(sender.root / "logs")}/. Stop with `make down`; `make clean` removes everything.
"""


def _relative(path: Path) -> Path:
    """Return ``path`` as people type it from here."""
    here = Path.cwd()
    absolute = path.absolute()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute
