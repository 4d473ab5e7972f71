"""No word fits in clear: every string place of the header, the manifest and the signed objects is tried with names, addresses and dates of birth.

The places are taken from the published JSON Schemas, so that a new one is tried too. What a form takes must be refused by the directory's ids;
what neither refuses is listed in ``OPEN`` with the reason.
"""

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.clear_ids import KnownIds, NamesNobody
from schemas.codes import Compartment
from schemas.envelope import KeyringDescriptor, Manifest, SectionDescriptor
from schemas.envelope.addendum import KeyringAddendum
from schemas.header import RoutingHeader
from schemas.objects.events import DecidedEvent
from schemas.objects.registry import OBJECT_FORMS
from tests.support.envelopes import MESSAGE_ID, NOW
from tests.support.sample_files import load_sample_directory

NAMES = [
    "John Smith", "JohnSmith", "john_smith", "JOHN_SMITH", "john-smith", "john.smith", "Smith, John", "SMITH", "Smith", "Li",
    "O'Brien", "Zoë", "12 High Street", "SW1A 1AA", "29/02/2016", "2016-02-29", "29022016", "9991234567", "999 123 4567",
    "john.smith@example.org", "john/smith", "csc.marchshire#john-smith", "unresolved:code:John Smith", "unresolved:ods:SMITH",
    "unresolved:john_smith:0123456789abcdef", "She said that he hit her", "", " ", "stated\n",
]  # fmt: skip
ID, OTHER = "Zb3kq9x2vwTn0aLcQe71Gg", "p8fj2k1mzV0sXr4tYw6uAQ"
DIGEST, HMAC = "D" * 43, "ab" * 32
AT = NOW.isoformat()
TOKEN = {"scheme": "nhs", "pepper_id": "p1", "value": HMAC}
SCOPE = {"recipients": ["idva.safehaven"], "compartments": ["C01"], "purposes": ["idva_support"], "kinds": ["PPN"]}
CONSENT = {
    "giver": "child",
    "given_at": AT,
    "expires_at": AT,
    "withdrawn_at": AT,
    "scope": SCOPE,
    "method": "telephone",
}
CONSENT |= {"state": "given", "wording_version": "MC-CON-4en", "reason_code": "changed_mind"}
BINDING = {"delivery_id": ID, "message_id": MESSAGE_ID, "manifest_digest": DIGEST, "decision_leaf": DIGEST}
BINDING |= {"sender": "police.marchshire", "recipient": "csc.marchshire"}

HEADER: dict[str, Any] = {
    "case": {"kind": "UPDATE", "original_kind": "CP_S47", "missing_event": "open", "area": "E10999001", "reported_at": AT},
    "risk": {"grade": "high", "tool": "dash", "tool_version": "2009", "assessed_at": AT, "next_review_due_at": AT},
    "lawful_basis": {"art6": "c", "provision": "CA 1989 s.47", "art9": "9(2)(g) + DPA 2018 Sch 1 para 18"},
    "policy": {
        "consent": CONSENT,
        "tell_status": {"value": "tell", "reason_code": "reason_given", "review_on": "2026-12-01", "parties": ["gp.millbrook"]},
        "compartments": ["C01"],
        "embargo": {
            "active": True, "named": ["csc.marchshire#strategy-lead"], "set_at": AT, "last_review_at": AT, "review_due_at": AT, "lifted_at": AT,
        },
        "conflicts": [{"agency": "school.oakfield", "contact": "dsl"}],
        "tokens": [
            {"scheme": "MAPPA", "ref": HMAC, "recipient": "school.oakfield", "expires_at": AT, "authorised_by": "DI-4417"}
        ],
        "bars": [{"law_code": "CA 1989 s.8", "compartments": ["C02"], "recipients": ["gp.millbrook"]}],
        "break_glass": {"by": "4417", "at": AT},
        "detriment": {"recipients": ["csc.marchshire"], "decided_by": "named-nurse", "role": "named_nurse"},
        "statutory_task": "CA 2004 s.11",
        "clocks": {
            "incident_at": AT, "police_protection_at": AT, "place_of_safety_at": AT, "found_at": AT, "discovered_at": AT,
            "offender_change_on": "2026-11-06",
        },
        "native_ref_digest": HMAC, "corrects_ref_digest": HMAC, "occurrence_token": HMAC,
    },
    "subjects": [{"subject_id": ID, "type": "person", "age_band": "5-9"}],
    "routing": [{"subject_id": ID, "tied_agencies": ["school.oakfield"], "tokens": [TOKEN]}],
    "deliveries": [
        {"delivery_id": ID, "agency": "csc.marchshire", "role": "csc", "purpose": "safeguard_child", "contact": "mash-duty",
         "granted_sections": [ID]}
    ],
    "flags": ["voice_absent"],
}  # fmt: skip
MANIFEST: dict[str, Any] = {
    "message_id": MESSAGE_ID, "referral_id": ID, "sender": "police.marchshire", "issued_at": AT, "expires_at": AT, "conversation": ID,
    "supersedes": MESSAGE_ID, "reseals": MESSAGE_ID, "suite": "SL1", "type": "referral", "digest_alg": "sha-256", "digests": [DIGEST],
}  # fmt: skip
SECTION = {
    "section_id": ID, "compartment": "C01", "subject": ID, "form": "full", "media_type": "application/json", "ciphertext_sha256": DIGEST,
    "content_sha256": DIGEST,
}  # fmt: skip
KEYRING = {"delivery_id": ID, "kid": DIGEST, "sha256": DIGEST}
OBJECTS: dict[str, list[dict[str, Any]]] = {
    "receipt": [
        BINDING | {"receipt_id": ID, "referral_id": ID, "state": "refused", "reason_code": "duplicate", "person": "sw-4417", "at": AT,
                   "sections": [ID], "case_reference_digest": DIGEST, "previous": DIGEST},
    ],
    "negative_receipt": [BINDING | {"last_state": "opened", "none_logged_by": AT, "log_size": 3}],
    "consent": [
        CONSENT | {"consent_id": ID, "recorded_by": "police.marchshire", "recorder": "4417", "recorded_at": AT, "subject_tokens": [TOKEN],
                   "referral_id": ID, "message_id": MESSAGE_ID, "capacity": "gillick", "assessor": "4418",
                   "parental_responsibility_evidence": "birth_certificate", "supersedes": ID, "previous": DIGEST},
    ],
    "approval": [
        {"approval_id": ID, "action": "release", "approver": "4417", "approver_agency": "police.marchshire", "approver_role": "approver",
         "requester": "4418", "message_id": MESSAGE_ID, "manifest_digest": DIGEST, "delivery_id": ID, "recipient": "csc.marchshire",
         "compartments": ["C10"], "sections": [ID], "scheme": "MAPPA", "policy_digest": DIGEST, "reason_code": "need_to_know",
         "reason_digest": DIGEST, "issued_at": AT, "expires_at": (NOW + timedelta(hours=1)).isoformat(), "joins": ID},
        {"approval_id": ID, "action": "erase", "approver": "4417", "approver_agency": "police.marchshire", "approver_role": "approver",
         "subject_digest": DIGEST, "reason_code": "subject_request", "issued_at": AT,
         "expires_at": (NOW + timedelta(hours=1)).isoformat()},
    ],
    "recall": [
        {"recall_id": ID, "sender": "police.marchshire", "message_id": MESSAGE_ID, "referral_id": ID, "manifest_digest": DIGEST,
         "deliveries": [ID], "reason_code": "wrong_child", "replaced_by": MESSAGE_ID, "issued_at": AT, "delete_by": AT},
    ],
    "request": [
        {"request_id": ID, "step": "refused", "requester": "csc.marchshire", "requester_role": "csc", "recipient": "gp.millbrook",
         "person": "sw-4417", "statutory_task": "CA 1989 s.47", "purpose": "safeguard_child", "kind": "CP_S47", "compartments": ["C07"],
         "subject_tokens": [TOKEN], "conversation": ID, "issued_at": AT, "answer_due_at": AT, "answer_message_id": MESSAGE_ID,
         "reason_code": "no_record", "previous": DIGEST},
    ],
    "control": [
        {"control": "key_revoked", "agency": "csc.marchshire", "kid": DIGEST, "reason_code": "key_lost", "revoked_at": AT},
        {"control": "deletion_confirmed", "agency": "csc.marchshire", "recall_id": ID, "message_id": MESSAGE_ID, "delivery_id": ID,
         "deleted_at": AT, "exceptions_code": "legal_hold"},
        {"control": "break_glass", "agency": "csc.marchshire", "message_id": MESSAGE_ID, "manifest_digest": DIGEST, "person": "4417",
         "reason_code": "danger_now", "claimed_at": AT},
    ],
    "keyring_addendum": [
        {"addendum_id": ID, "message_id": MESSAGE_ID, "referral_id": ID, "manifest_digest": DIGEST, "sender": "police.marchshire",
         "delivery_id": ID, "recipient": "csc.marchshire", "sections": [ID], "keyring_descriptor": KEYRING, "approvals": [DIGEST],
         "issued_at": AT,
         "keyring": {"protected": "e30", "encrypted_key": "e30", "iv": "e30", "ciphertext": "e30", "tag": "e30"}},
    ],
}  # fmt: skip
FORMS: dict[str, tuple[TypeAdapter[Any], list[dict[str, Any]]]] = {
    "header": (TypeAdapter(RoutingHeader), [HEADER]),
    "manifest": (TypeAdapter(Manifest), [MANIFEST]),
    "section": (TypeAdapter(SectionDescriptor), [SECTION]),
    "keyring": (TypeAdapter(KeyringDescriptor), [KEYRING]),
    **{name: (OBJECT_FORMS[name], examples) for name, examples in OBJECTS.items()},
}
UNKNOWN_KIND = "an older hub must read a newer kind in order to hold it (D12, FORMATS CH-4): upper case, at most 32 characters, and nothing is permitted by it"
PARTY = "the hub compares it with the agency that RabbitMQ and the signature name, and with its own tables: tests/integration"
OPEN = {
    ("header", "case.kind"): UNKNOWN_KIND,
    ("header", "case.original_kind"): UNKNOWN_KIND,
    ("header", "policy.consent.scope.kinds[]"): UNKNOWN_KIND,
    ("consent", "scope.kinds[]"): UNKNOWN_KIND,
    ("request", "kind"): UNKNOWN_KIND,
    ("header", "policy.tell_status.review_on"): "a date is a date, whosever birthday it is",
    ("header", "policy.clocks.offender_change_on"): "a date is a date, whosever birthday it is",
    ("manifest", "sender"): PARTY,
    **{(name, member): PARTY for name in OBJECTS for member in ("sender", "recipient", "agency")},
    ("consent", "recorded_by"): PARTY,
    ("approval", "approver_agency"): PARTY,
    **{
        (
            "keyring_addendum",
            f"keyring.{member}",
        ): "base64url of the JWE whose digest is signed; check_keyring refuses any other"
        for member in ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    },
}
KNOWN = KnownIds.of(load_sample_directory())


def walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every string."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from walk(inner, (*path, number))
    elif isinstance(value, str):
        yield path


def write_path(path: tuple[str | int, ...]) -> str:
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def put(example: dict[str, Any], path: tuple[str | int, ...], text: str) -> dict[str, Any]:
    changed = copy.deepcopy(example)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = text
    return changed


def list_places(schema: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield every string place of a JSON Schema."""
    if "$ref" in schema:
        yield from list_places(root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from list_places(choice, root, path)
    if schema.get("type") == "string":
        yield path
    for name, inner in schema.get("properties", {}).items():
        yield from list_places(inner, root, f"{path}.{name}".lstrip("."))
    if isinstance(schema.get("items"), dict):
        yield from list_places(schema["items"], root, f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield f"{path}.*"


def takes(form: TypeAdapter[Any], value: dict[str, Any]) -> bool:
    """Return whether form and directory let a value through."""
    try:
        model = form.validate_python(json.loads(json.dumps(value)))
    except ValidationError:
        return False
    assert isinstance(model, BaseModel)
    try:
        if isinstance(model, RoutingHeader):
            KNOWN.check_header(model)
        else:
            KNOWN.check_object(model)
    except NamesNobody:
        return False
    return True


@pytest.mark.parametrize("name", sorted(FORMS))
def test_no_name_fits(name: str) -> None:
    form, examples = FORMS[name]
    taken: dict[str, list[str]] = {}
    for example in examples:
        assert takes(form, example), "the example itself must be of the form"
        for path in walk(example):
            fitting = [said for said in NAMES if takes(form, put(example, path, said))]
            if fitting and (name, write_path(path)) not in OPEN:
                taken[write_path(path)] = fitting
    assert not taken


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_string_place_of_the_schema_is_tried(name: str) -> None:
    form, examples = FORMS[name]
    schema = form.json_schema()
    tried = {write_path(path) for example in examples for path in walk(example)}
    open_members = {
        "keyring.*",
        "jwk.*",
        "not_before",
        "not_after",
    }  # dicts of base64url; the key announcement has a reader of its own
    assert {place for place in list_places(schema, schema) if place not in open_members and place != "jwk"} <= tried


def test_what_is_left_open_is_still_open() -> None:
    """An entry of OPEN that a later form closes must go: the list says what a name can still do."""
    closed = []
    for (name, where), _ in OPEN.items():
        form, examples = FORMS[name]
        places = [(example, path) for example in examples for path in walk(example) if write_path(path) == where]
        if places and not any(takes(form, put(example, path, said)) for example, path in places for said in NAMES):
            closed.append((name, where))
    assert not closed


def test_the_hub_s_own_event_has_no_place_for_a_sender_s_words() -> None:
    """``row``, ``reason`` and ``authority`` are the policy's, ``agreement`` is the directory's: the sender writes none of them."""
    schema = DecidedEvent.model_json_schema()
    free = {
        n
        for n, s in schema["properties"].items()
        if s.get("type") == "string" and not {"pattern", "const", "format"} & set(s)
    }
    assert free == {"row", "reason", "authority", "policy_digest", "inputs_digest"}


def test_the_addendum_and_the_section_name_compartments_alone() -> None:
    assert set(SectionDescriptor.model_fields) == set(SECTION)
    assert {"keyring", "keyring_descriptor"} < set(KeyringAddendum.model_fields)
    assert Compartment(SECTION["compartment"]) is Compartment.C01
