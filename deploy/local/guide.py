"""What ``make up`` prints: where everything is, and what to try first."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from deploy.local.gateway_site import GatewaySite
from deploy.local.local_partnership import LocalPartnership
from deploy.local.sample_set import BUNDLED


def describe_running(local: LocalPartnership, root: Path) -> str:
    """Return the text for people after a start: addresses, tokens' places, and commands that work as they stand."""
    sender = local.gateways[0]
    agency = sender.agencies[0]
    config = _relative(sender.config_file)
    sample = _relative(BUNDLED / "police-ppn-json" / "ppn-0041877-s47-siblings.json")
    folder = _relative(sender.root / agency.id)
    hub = _relative(local.hub.config_file)
    port = sender.config.listen_port
    gateways = "\n".join(line for gateway in local.gateways for line in _describe_gateway(gateway))
    return f"""
Running. The hub's API is {local.hub.url}, and these gateways listen on this machine:
{gateways}

Try, from this folder:
  export PATH="$PWD/.venv/bin:$PATH" CONFIG={config} FILE={sample}
  safelane gateway plan $FILE --config $CONFIG      # who would get what, and why; nothing is sent
  safelane gateway send $FILE --config $CONFIG      # prints the referral's ID
  safelane gateway status ID --config $CONFIG
  find {_relative(root / "received")} -name '*.pdf'     # what each agency received; JSON beside it
  safelane hub status --config {hub}

As a record system does it:
  curl -i http://127.0.0.1:{port}/referrals -H "Authorization: Bearer $(cat {folder}/api.token)" \\
    -H 'Content-Type: application/json' --data-binary @$FILE
Or drop a file into {folder}/drop/ and look into done/ and failed/ there.

The samples are of November and December 2026: what is dated after this machine's clock is refused ("it lies after receipt").
A gateway that serves several agencies needs `--agency ID`. Logs: {_relative(local.hub.root / "logs")}/, {_relative(sender.root / "logs")}/.
Stop with `make down`; `make up` goes on with the same data; `make clean` removes everything.
"""


def _describe_gateway(gateway: GatewaySite) -> Iterator[str]:
    yield f"  {gateway.name:<12} http://127.0.0.1:{gateway.config.listen_port}"
    agencies = ", ".join(agency.id for agency in gateway.agencies)
    yield textwrap.fill(agencies, width=100, initial_indent="      ", subsequent_indent="      ")


def _relative(path: Path) -> Path:
    """Return ``path`` as people type it from here."""
    here = Path.cwd()
    absolute = path.absolute()
    return absolute.relative_to(here) if absolute.is_relative_to(here) else absolute
