"""A whole partnership on this machine, as in production but small: authority, hub, and a gateway for every agency, all enrolled.

The three largest agencies run gateways of their own, the others share a hosted one. Every step can be repeated after a crash.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from adapters.gateway.identity.enrolment import Invitation, PendingEnrolment
from broker.decisions import DEFAULT_PACK
from deploy.authority.directory_building import add_person
from deploy.authority.founding import OFFICERS, TRUST_FILE, NewOfficer, found_authority
from deploy.authority.hub_link import HubLink
from deploy.authority.officers import open_officer
from deploy.authority.partnership import load_partnership
from deploy.authority.policies import use_policy_pack
from deploy.authority.signing import record_approval, sign_next_version
from deploy.authority.state import STATE_FILE, load_state, save_state
from deploy.clock import build_business_clock, read_real_clock
from deploy.hub_status import make_invitation
from deploy.local.files import read_or_make_secret, write_secret
from deploy.local.gateway_access import ContactKey, GatewayAccess
from deploy.local.gateway_site import GatewaySite
from deploy.local.hub_files import HubFiles
from deploy.local.hub_site import HubSite
from deploy.local.local_people import LocalPerson, make_people
from deploy.local.stack import LocalStack
from schemas.directory import Agency, WitnessPolicy
from schemas.enrolment import verify_enrolment
from schemas.errors import ConfigInvalid, IntegrityBroken

OFFICER_NAMES = ("officer-one", "officer-two")
OWN_GATEWAY_KINDS = ("police", "social_care", "health")
HOSTED = "hosted"
QUORUM = 2
"""Every agency is a witness of the hub's log; so many make a quorum."""
Tell = Callable[[str], None]


class LocalPartnership:
    """Everything below ``root``; what agencies receive is left as files below ``received``."""

    def __init__(self, root: Path, partnership_file: Path, received: Path, *, clock_file: Path | None = None) -> None:
        """Read the partnership file and plan who runs what; nothing is started.

        Raises:
            ConfigInvalid: the partnership file is wrong.
        """
        self.root = root
        self.partnership = load_partnership(partnership_file)
        self._partnership_file = partnership_file
        self._clock_file = clock_file
        self.stack = LocalStack(root / "stack")
        self.authority = root / "authority"
        self.hub = HubSite(root / "hub", self.stack, partnership=self.partnership.partnership.id, clock_file=clock_file)
        self.gateways = [
            GatewaySite(name, root / "gateways" / name, agencies, received)
            for name, agencies in _share_out(self.partnership.agencies).items()
        ]

    @property
    def agencies(self) -> tuple[Agency, ...]:
        """Every agency of the partnership."""
        return tuple(self.partnership.agencies)

    @property
    def people(self) -> list[LocalPerson]:
        """Those who decide what policy holds, made when the authority is founded."""
        return make_people(self.root / "people", self.agencies)

    def set_clock(self, moment: datetime) -> None:
        """Set the business clock of hub and gateways.

        Raises:
            ConfigInvalid: this partnership runs on the real clock.
        """
        if self._clock_file is None:
            raise ConfigInvalid("runs on the real clock", field="clock_file")
        write_secret(self._clock_file, moment.isoformat())

    def read_clock(self) -> datetime:
        """Return the business clock's instant."""
        return build_business_clock(self._clock_file, "test")()

    def start(self, tell: Tell) -> None:
        """Start the servers, found the authority, enrol every agency, and start hub and gateways. ``tell`` gets one line a step.

        Raises:
            ConfigInvalid: something that is needed is missing and cannot be installed.
            DependencyUnavailable: a program did not start.
        """
        self.stack.start(tell)
        if not (self.authority / STATE_FILE).exists():
            tell("Founding the authority: two officers, hybrid keys, a pinned successor")
            self._found_authority()
        self._name_the_hub(self.hub.configure(self.authority / TRUST_FILE))
        tell("Starting the hub")
        self.hub.start()
        self._enrol(tell)
        tell("Starting the gateways")
        for gateway in self.gateways:
            gateway.start()
        for gateway in self.gateways:
            gateway.await_ready()

    def stop(self) -> None:
        """Stop every program and server; data stays."""
        for gateway in self.gateways:
            gateway.stop()
        if self.hub.config_file.exists():
            self.hub.stop()
        self.stack.stop()

    def open_access(self, agency_id: str) -> GatewayAccess:
        """Return an agency's way into its gateway."""
        return self._find_gateway(agency_id).open_access(agency_id)

    def read_contact_key(self, agency_id: str, contact: str) -> ContactKey | None:
        """Return a named contact's key, or none."""
        return self._find_gateway(agency_id).read_contact_key(agency_id, contact)

    def _find_gateway(self, agency_id: str) -> GatewaySite:
        for gateway in self.gateways:
            if any(agency.id == agency_id for agency in gateway.agencies):
                return gateway
        raise ConfigInvalid("no such agency in the partnership file", field="agency")

    def _found_authority(self) -> None:
        home = self.partnership.agencies[0].id
        officers = tuple(NewOfficer(name, home, self._passphrase(name)) for name in OFFICER_NAMES)
        ca_key = self.stack.pki.ca_file.with_suffix(".key")
        state = found_authority(
            self.authority, self._partnership_file, officers, ca_certificate=self.stack.pki.ca_file, ca_key=ca_key
        )
        for someone in self.people:
            state = add_person(state, someone.person)
        witnesses = WitnessPolicy(agencies=tuple(sorted(agency.id for agency in self.agencies)), quorum=QUORUM)
        save_state(self.authority, use_policy_pack(state, DEFAULT_PACK), witnesses=witnesses)

    def _name_the_hub(self, files: HubFiles) -> None:
        state = load_state(self.authority)
        if state.hub.log_verifier != files.log_verifier:
            named = {"log_origin": files.log_origin, "log_verifier": files.log_verifier}
            save_state(self.authority, state, hub=state.hub.model_copy(update=named))

    def _enrol(self, tell: Tell) -> None:
        waiting = {a.id for a in self.agencies} - set(load_state(self.authority).enrolled)
        if not waiting:
            return
        if load_state(self.authority).directory_version == 0:
            self._sign_and_publish()
        tell(f"Enrolling {len(waiting)} agencies: keys made on their side, one invitation each")
        pending: dict[str, PendingEnrolment] = {}
        for gateway in self.gateways:
            gateway.configure(self.hub.url, self.authority / TRUST_FILE, self._clock_file)
            invitations = {agency.id: self._invite(agency.id) for agency in gateway.agencies}
            pending |= gateway.request_enrolments(invitations)
        tell("An officer compares the fingerprints, two officers sign the directory")
        self._approve(pending)
        self._sign_and_publish()
        for gateway in self.gateways:
            gateway.complete_enrolments()

    def _invite(self, agency_id: str) -> Invitation:
        made = asyncio.run(make_invitation(self.hub.config, agency_id, timedelta(hours=1)))
        return Invitation.model_validate(made)

    def _approve(self, pending: dict[str, PendingEnrolment]) -> None:
        officer = open_officer(self.authority / OFFICERS, OFFICER_NAMES[0], self._passphrase(OFFICER_NAMES[0]))
        with self._open_link() as link:
            rows = link.list_pending(officer)
        for row in rows:
            request = verify_enrolment(row["request"])
            # What is a telephone call in production: the agency's own fingerprint against the request's.
            if pending[request.agency].fingerprint != request.fingerprint():
                raise IntegrityBroken("an enrolment's fingerprint differs", field="fingerprint")
            record_approval(self.authority, officer, row["enrolment_id"], row["request"], now=read_real_clock())

    def _sign_and_publish(self) -> None:
        passphrases = {name: self._passphrase(name) for name in OFFICER_NAMES}
        signed = sign_next_version(self.authority, passphrases, now=read_real_clock())
        with self._open_link() as link:
            link.publish(signed)

    def _open_link(self) -> HubLink:
        ca_pem = json.loads((self.authority / TRUST_FILE).read_text())["ca_pem"]
        return HubLink(self.hub.url, ca_pem, read_real_clock)

    def _passphrase(self, officer: str) -> str:
        """Return an officer's passphrase, kept beside the demo's data: in production it is in the officer's head."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o711)
        return read_or_make_secret(self.root / f"{officer}.passphrase")


def _share_out(agencies: tuple[Agency, ...]) -> dict[str, list[Agency]]:
    """Return which agencies each gateway process serves, by the process's name."""
    shared: dict[str, list[Agency]] = {}
    for agency in agencies:
        own = agency.kind in OWN_GATEWAY_KINDS and agency.kind not in shared
        shared.setdefault(agency.kind if own else HOSTED, []).append(agency)
    return shared
