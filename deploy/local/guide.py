"""What ``make up`` prints: where everything is, and what to try first."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from deploy.local.files import show_path
from deploy.local.gateway_site import GatewaySite
from deploy.local.local_partnership import LocalPartnership
from deploy.local.sample_set import BUNDLED


def describe_running(local: LocalPartnership, root: Path) -> str:
    """Return the text for people after a start: addresses, tokens' places, and commands that work as they stand."""
    sender = local.gateways[0]
    agency = sender.agencies[0]
    config = show_path(sender.config_file)
    sample = show_path(BUNDLED / "police-ppn-json" / "ppn-0041877-s47-siblings.json")
    folder = show_path(sender.root / agency.id)
    hub = show_path(local.hub.config_file)
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
  find {show_path(root / "received")} -name '*.pdf'     # what each agency received; JSON beside it
  safelane hub status --config {hub}
  safelane evidence export ID --out evidence.zip --by YOU --config {hub}
  safelane verify evidence.zip --trust {show_path(local.authority / "trust.json")}    # what is proved, what not, since when

As a record system does it:
  curl -i http://127.0.0.1:{port}/referrals -H "Authorization: Bearer $(cat {folder}/api.token)" \\
    -H 'Content-Type: application/json' --data-binary @$FILE
Or drop a file into {folder}/drop/ and look into done/ and failed/ there.
{_describe_reviews(local)}{_describe_chronology(local)}
The samples are of November and December 2026: what is dated after this machine's clock is refused ("it lies after receipt").
A gateway that serves several agencies needs `--agency ID`. Logs: {show_path(local.hub.root / "logs")}/, {show_path(sender.root / "logs")}/.
Stop with `make down`; `make up` goes on with the same data; `make clean` removes everything.
"""


def _describe_reviews(local: LocalPartnership) -> str:
    """Return how to decide what policy holds, as the sender's approver; nothing where the sender has none."""
    sender = local.gateways[0].agencies[0]
    someone = next((p for p in local.people if p.person.agency == sender.id), None)
    if someone is None:
        return ""
    agency = next((a for a in local.agencies if "csc" in a.roles), local.agencies[-1])
    recipient = next(g for g in local.gateways if agency in g.agencies)
    token = show_path(recipient.root / agency.id / "api.token")
    key, passphrase = show_path(someone.key_file), show_path(someone.passphrase_file)
    hub = f"--hub {local.hub.url} --trust {show_path(local.authority / 'trust.json')}"
    return f"""
What policy holds waits for a person: the sample holds the name of somebody who spoke in confidence (C10). As {someone.person.id} of {sender.id}:
  export REVIEW="--key {key} --passphrase-file {passphrase} {hub}"
  safelane review list $REVIEW                        # what waits, until when, and why
  safelane review claim DELIVERY $REVIEW
  safelane review release DELIVERY --reason-code need_to_know $REVIEW
  safelane review refuse DELIVERY --reason-code source_at_risk $REVIEW    # or this
The hub has no key to it: the sender's gateway asks its own people, and sends the key.
  safelane gateway approvals list --config $CONFIG
  safelane gateway approvals give DIGEST --person p-17 --config $CONFIG
  safelane gateway status ID --config $CONFIG         # C10 went, to whom, by whose decision
  curl -s http://127.0.0.1:{recipient.config.listen_port}/inbox/DELIVERY -H "Authorization: Bearer $(cat {token})"   # as {agency.id}
"""


def _describe_chronology(local: LocalPartnership) -> str:
    """Return how two people find out who knew what of one child; nothing where the partnership has not the two."""
    asking = [p for p in local.people if any(role.startswith("partnership_") for role in p.person.roles)]
    if len(asking) < 2:
        return ""
    hub = f"--hub {local.hub.url} --trust {show_path(local.authority / 'trust.json')}"
    first, second = (
        f"--key {show_path(p.key_file)} --passphrase-file {show_path(p.passphrase_file)}" for p in asking[:2]
    )
    return f"""
Who knew what of one child, when: two people agree, one reads it once, and each step is an event of the log. The number is the sample's `nhsNo`:
  safelane gateway token child.token --person p-17 --config $CONFIG
  export ASK="{hub}" ONE="{first}"
  export TWO="{second}"
  safelane review agree chronology child.token --reason-code serious_case_review $ONE $ASK
  safelane review agree chronology child.token --reason-code serious_case_review $TWO $ASK
  safelane audit chronology child.token $ONE $ASK
"""


def _describe_gateway(gateway: GatewaySite) -> Iterator[str]:
    yield f"  {gateway.name:<12} http://127.0.0.1:{gateway.config.listen_port}"
    agencies = ", ".join(agency.id for agency in gateway.agencies)
    yield textwrap.fill(agencies, width=100, initial_indent="      ", subsequent_indent="      ")
