"""Sealing by plan: every good sample seals within the signed matrix, held parts are keyed to nobody, and a school gets its own child's sections only."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.gateway.identity.directory_keeper import DirectoryKeeper, VerifiedDirectory
from adapters.gateway.outgoing.sealing import Plan, SealingFacts, seal_referral
from adapters.gateway.random_ids import new_message_id, new_opaque_id
from adapters.mapping import MappingContext, default_mappings, draft_header, read_records, recognise_mapping
from broker.decisions import NO_REGISTERS, DecisionEngine
from schemas.codes import Compartment, CompartmentResult, Form
from schemas.envelope import VerifiedEnvelope, parse_envelope, verify_envelope
from schemas.referral import Referral
from schemas.trust import TrustFile
from tests.support.gateways import PEPPER, SAMPLES, StubHub, fill_keystore, policy_pack
from tests.support.sample_files import load_expected

CA = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
FILES = load_expected()["files"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> StubHub:
    folder = tmp_path_factory.mktemp("agencies")
    hub = StubHub.make(CA, lambda: NOW, issued_at=NOW)
    for agency in (a.id for a in hub.directory().agencies):
        hub.keystores[agency] = fill_keystore(folder / agency, agency, NOW)
    return hub


@pytest.fixture(scope="module")
def directory(hub: StubHub, tmp_path_factory: pytest.TempPathFactory) -> VerifiedDirectory:
    trust = TrustFile.model_validate(hub.trust())
    keeper = DirectoryKeeper(tmp_path_factory.mktemp("keeper") / "directory.json", trust, None, lambda: NOW)
    return keeper.accept(hub.directory_body())


def read_good(file: str, received_at: datetime, directory: VerifiedDirectory) -> list[Referral]:
    data = (SAMPLES / file).read_bytes()
    mapping = recognise_mapping(file, data, default_mappings())
    outcomes = read_records(data, mapping, MappingContext(directory.directory, None, received_at))
    return [outcome.referral for outcome in outcomes if outcome.referral is not None]


def plan_referral(referral: Referral, directory: VerifiedDirectory, now: datetime) -> Plan:
    subject_ids = {subject.ref: new_opaque_id() for subject in referral.subjects}
    header = draft_header(referral, directory.directory, subject_ids, PEPPER)
    engine = _engine(directory)
    decisions = engine.decide_all(header, sender=referral.sender, registers=NO_REGISTERS, now=now)
    return Plan(header, tuple(decisions), subject_ids, directory.version)


_engines: dict[int, DecisionEngine] = {}


def _engine(directory: VerifiedDirectory) -> DecisionEngine:
    if id(directory) not in _engines:
        _engines[id(directory)] = DecisionEngine(policy_pack(), directory.directory)
    return _engines[id(directory)]


def seal(referral: Referral, plan: Plan, directory: VerifiedDirectory, hub: StubHub, now: datetime) -> VerifiedEnvelope:
    facts = SealingFacts(new_message_id(NOW), new_opaque_id(), new_opaque_id(), NOW, NOW + timedelta(days=14))
    signer = hub.keystores[referral.sender].signing_keys()
    sealing = seal_referral(referral, plan, facts, directory, signer, business_now=now)
    assert set(sealing.section_keys) == set(json.loads(sealing.body)["sections"])
    return verify_envelope(parse_envelope(sealing.body), [signer.public], now=NOW)


@pytest.mark.parametrize("entry", FILES, ids=lambda e: e["file"])
def test_every_good_sample_seals_within_the_matrix(
    entry: dict[str, Any], hub: StubHub, directory: VerifiedDirectory
) -> None:
    received_at = datetime.fromisoformat(entry["received_at"])
    referrals = read_good(entry["file"], received_at, directory)
    assert len(referrals) == entry["records"]
    for referral in referrals:
        plan = plan_referral(referral, directory, received_at)
        envelope = seal(referral, plan, directory, hub, received_at)
        granted = {d.delivery_id: set(d.granted_sections) for d in envelope.header.deliveries}
        keyed = set().union(*granted.values()) if granted else set()
        for decision in plan.decisions:
            wanted = decision.permitted_forms()
            got: dict[Compartment, set[Form]] = defaultdict(set)
            for section_id in granted[decision.delivery_id]:
                descriptor = envelope.descriptors[section_id]
                got[descriptor.compartment].add(descriptor.form)
                assert descriptor.subject == "incident" or descriptor.subject in decision.subjects
            assert set(got) <= set(wanted)
            for compartment, forms in got.items():
                assert forms <= {wanted[compartment], Form.POINTER}
            held = {c for c, d in decision.compartments.items() if d.result is CompartmentResult.HELD}
            sealed = {d.compartment for d in envelope.descriptors.values()}
            assert held & set(referral.compartments) <= sealed, "what is held must be sealed, to be released later"
        assert not {s for s in envelope.descriptors if envelope.descriptors[s].compartment is Compartment.C12} & keyed
        assert not {s for s in envelope.descriptors if envelope.descriptors[s].compartment is Compartment.C10} & keyed
