"""What a recipient can read of what it is sent, for every sample: nothing of other people, other recipients or compartments that it does not get.

Each sample is mapped, decided, sealed and cut as in earnest. Then everything that reaches the recipient without a section's key is decoded and searched.
"""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import pytest

from adapters.gateway.outgoing.sealing import SectionSet
from adapters.mapping import MappingContext, default_mappings, draft_header, read_records, recognise_mapping
from adapters.mapping.heading import make_opaque_id
from broker.decisions import DecisionEngine
from broker.intake.releasing import build_release, choose_sections
from schemas.canonical import decode_base64url, sha256_base64url
from schemas.codes import Compartment, DeliveryOutcome, Form, RiskGrade
from schemas.decision import Decision
from schemas.envelope import EnvelopeDraft, VerifiedEnvelope, parse_envelope, seal, verify_envelope
from schemas.header import DeliveryRequest
from schemas.objects.events import DecidedEvent, commit_inputs
from schemas.referral import Referral
from tests.contract.test_decision_cases import SAMPLES, make_directory
from tests.contract.test_samples_decisions import REFERRALS, name_referral
from tests.support.decisions import default_pack
from tests.support.deliveries import log_and_deliver
from tests.support.envelopes import build_sample, seeded_encryption_jwk, seeded_signer

DIRECTORY = make_directory()
SIGNER = seeded_signer("police.marchshire")
HUB_ONLY = re.compile(
    r"art6|art9|art10|lawful_basis|tell_status|consent|embargo|conflict|pepper|tied_agencies|occurrence|native_ref|granted"
    r"|circulation|break.?glass|detriment|clinical|quality|flag:|grants:|policy\":|basis",
    re.IGNORECASE,
)
RISK = re.compile(r"grade|risk|danger|harm|tool|assess|next_review", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """A sample as its hub has it, and its deliveries: request, decision and body."""

    referral: Referral
    verified: VerifiedEnvelope
    deliveries: tuple[tuple[DeliveryRequest, Decision, bytes], ...]


@cache
def send(number: int) -> Sent:
    """Map, decide, seal, verify and cut the sample of that number."""
    expected = REFERRALS[number]
    now = datetime.fromisoformat(expected["received_at"])
    file = SAMPLES / expected["file"]
    data = file.read_bytes()
    context = MappingContext(DIRECTORY, None, now)
    outcome = read_records(data, recognise_mapping(file.name, data, default_mappings()), context)[
        expected["record"] - 1
    ]
    assert outcome.referral is not None
    referral = outcome.referral
    ids = {subject.ref: make_opaque_id() for subject in referral.subjects}
    header = draft_header(referral, DIRECTORY, ids, b"pepper")
    decisions = DecisionEngine(default_pack(), DIRECTORY).decide_all(header, sender=referral.sender, now=now)
    sections = SectionSet(referral, ids)
    for part in referral.parts:  # everything is sealed, in every form, so that there is much to leave out
        for form in Form:
            sections.need(part.compartment, form, frozenset(ids.values()))
    grants = {d.delivery_id: [s.section_id for s in sections.drafts] for d in header.deliveries}
    keys = {d.delivery_id: seeded_encryption_jwk(d.agency) for d in header.deliveries}
    facts = build_sample(sender=referral.sender).draft.facts
    sealed = seal(EnvelopeDraft(facts, header, sections.drafts, grants), SIGNER, keys)
    verified = verify_envelope(parse_envelope(sealed.body), [SIGNER.public], now=facts.issued_at)
    deliveries = []
    for request, decision in zip(verified.header.deliveries, decisions, strict=True):
        released = choose_sections(verified.descriptors, request, decision)
        if decision.outcome is DeliveryOutcome.DELIVERED and released:
            event = DecidedEvent.from_bytes(build_release(verified, request, decision, released, facts.issued_at).event)
            deliveries.append((request, decision, log_and_deliver(verified, event)))
    return Sent(referral, verified, tuple(deliveries))


def decode(body: bytes) -> str:
    """Return everything in a delivery that needs no section key: openings, manifest, event, protected headers. Digests and ciphertext say nothing."""
    members = json.loads(body)
    texts = [decode_base64url(opening).decode() for opening in members["openings"]]
    manifest = json.loads(decode_base64url(members["manifest"]["payload"]))
    texts.append(json.dumps({name: value for name, value in manifest.items() if name != "digests"}))
    texts += [decode_base64url(s["protected"]).decode() for s in members["manifest"]["signatures"]]
    texts += [decode_base64url(compact.split(".")[0]).decode() for compact in members["sections"].values()]
    if members["keyring"] is not None:
        texts.append(decode_base64url(members["keyring"]["protected"]).decode())
    texts.append(decode_base64url(members["decision"]["event"]).decode())
    return "\n".join(texts)


def own_text(body: bytes) -> str:
    """Return a delivery's text without what may hold a searched word by chance: random values, the recipient's own role, purpose and agreement."""
    text = decode(body).replace('"granted_sections":[],', "")
    text = re.sub(r'"(policy_digest|inputs_digest|agreement|ek|kid|purpose|role)":("[^"]*"|null),?', "", text)
    return re.sub(r"[A-Za-z0-9_-]{22,}", "", text)


CASES = [pytest.param(n, id=name_referral(expected)) for n, expected in enumerate(REFERRALS)]


@pytest.mark.parametrize("number", CASES)
def test_no_other_recipient_is_named(number: int) -> None:
    sent = send(number)
    agencies = {agency.id for agency in DIRECTORY.agencies} - {sent.referral.sender}
    for request, _, body in sent.deliveries:
        text = decode(body)
        assert [a for a in agencies - {request.agency} if f'"{a}' in text] == []
        others = {d.delivery_id for d in sent.verified.header.deliveries} - {request.delivery_id}
        assert [d for d in others if d in text] == []


@pytest.mark.parametrize("number", CASES)
def test_no_subject_or_section_is_named_but_its_own(number: int) -> None:
    sent = send(number)
    for request, decision, body in sent.deliveries:
        text, given = decode(body), json.loads(body)["sections"].keys()
        about = {sent.verified.descriptors[section_id].subject for section_id in given}
        subjects = {subject.subject_id for subject in sent.verified.header.subjects}
        assert about - {"incident"} <= set(decision.subjects)
        assert [s for s in subjects - about if s in text] == []
        assert [s for s in sent.verified.descriptors.keys() - given if s in text] == []
        refs = {s.ref for s in sent.referral.subjects} | {
            i.value for s in sent.referral.subjects for i in s.identifiers
        }
        assert [1 for ref in refs | {sent.referral.native_ref} if len(ref) > 3 and ref in text] == []
        assert request.granted_sections
        assert '"granted_sections":["' not in text


@pytest.mark.parametrize("number", CASES)
def test_no_compartment_is_named_that_does_not_go(number: int) -> None:
    sent = send(number)
    for _, decision, body in sent.deliveries:
        text = decode(body)
        named = {code for code in Compartment if f'"{code.value}"' in text}
        assert named <= set(decision.permitted_forms())
        assert named == {sent.verified.descriptors[s].compartment for s in json.loads(body)["sections"]}


@pytest.mark.parametrize("number", CASES)
def test_what_is_for_the_hub_alone_stays_there(number: int) -> None:
    sent = send(number)
    tokens = {token.value for routing in sent.verified.header.routing for token in routing.tokens}
    for _, decision, body in sent.deliveries:
        assert [flag for flag in sent.verified.header.flags if flag in decode(body)] == []
        assert [1 for token in tokens if token in decode(body)] == []
        # A reason that goes by kind and purpose alone may speak of consent: the recipient knows both.
        event = json.loads(decode_base64url(json.loads(body)["decision"]["event"]))
        by_kind = set(HUB_ONLY.findall(event["reason"])) if decision.told is None else set()
        assert set(HUB_ONLY.findall(own_text(body))) <= by_kind


@pytest.mark.parametrize("number", CASES)
def test_risk_goes_only_where_its_words_go(number: int) -> None:
    sent = send(number)
    for request, decision, body in sent.deliveries:
        given = [sent.verified.descriptors[s] for s in json.loads(body)["sections"]]
        words = any(d.compartment is Compartment.C05 and d.form is not Form.POINTER for d in given)
        opened = {json.loads(decode_base64url(opening))[1] for opening in json.loads(body)["openings"]}
        assert ("risk" in opened) is words, (request.role, decision.row)
        if not words:
            assert RISK.findall(own_text(body)) == []


def test_the_samples_reach_recipients_with_and_without_the_risk() -> None:
    bodies = [body for number in range(len(REFERRALS)) for _, _, body in send(number).deliveries]
    with_risk = sum('"risk",{' in decode(body) for body in bodies)
    assert 0 < with_risk < len(bodies)


@pytest.mark.parametrize("number", CASES)
def test_inputs_cannot_be_guessed_from_the_event(number: int) -> None:
    """A digest of few possible inputs would be as good as the inputs."""
    for _, decision, body in send(number).deliveries:
        event = json.loads(decode_base64url(json.loads(body)["decision"]["event"]))
        assert event["inputs_digest"] not in {decision.inputs_digest, sha256_base64url(decision.inputs_digest.encode())}
        assert event["inputs_digest"] != commit_inputs(decision.inputs_digest, b"")


@pytest.mark.parametrize("number", CASES)
@pytest.mark.parametrize("grade", ["high", "not_assessed"])
def test_the_grounds_told_do_not_tell_the_grade(number: int, grade: str) -> None:
    """A recipient without C05 reads the same grounds whatever the grade was."""
    sent = send(number)
    header = sent.verified.header
    graded = header.model_copy(
        update={"risk": header.risk.model_copy(update={"grade": RiskGrade(grade), "immediate_danger": False})}
    )
    now = datetime.fromisoformat(REFERRALS[number]["received_at"])
    again = DecisionEngine(default_pack(), DIRECTORY).decide_all(graded, sender=sent.referral.sender, now=now)
    by_id = {decision.delivery_id: decision for decision in again}
    for request, decision, _ in sent.deliveries:
        other = by_id[request.delivery_id]
        if (
            decision.permitted_forms().get(Compartment.C05) in {Form.FULL, Form.SUMMARY}
            or other.outcome is not decision.outcome
        ):
            continue
        told = [(d.told or (d.row, d.reason, d.authority)) for d in (decision, other)]
        assert told[0] == told[1]
