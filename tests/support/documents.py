"""The smallest good document of each format, with changes: for cases that no sample shows. Everything in them is invented."""

import copy
import csv
import io
import json
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from adapters.mapping import load_mapping

OVER_LIMIT = 262_145
NAMESPACE = "urn:example:magpie-pole:2"
ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
NHS = "https://fhir.nhs.uk/Id/nhs-number"
ORGANISATIONS = {
    "trust": (ODS, "RZ9"),
    "practice": (ODS, "Z99001"),
    "police": ("https://example.org/fhir/Id/police-force", "99"),
    "csc": ("https://example.org/fhir/Id/gss", "E10999001"),
    "early-help": ("https://example.org/fhir/Id/early-help", "E10999001"),
    "elsewhere": ("https://example.org/fhir/Id/gss", "E10999077"),
}
CORVID: dict[str, Any] = {
    "msgHdr": {
        "msgRef": "MRC-PPN-1",
        "createdDtm": "2026-11-23T09:30:00Z",
        "msgFunction": "ORIG",
        "orgCode": "99",
    },
    "occ": {
        "occRef": "50260999001",
        "rptdDtm": "2026-11-23T09:00:00Z",
        "locn": {"laGss": "E10999001"},
        "mo": "An account.",
    },
    "notif": {
        "category": "CHILD-CONCERN",
        "immDanger": "N",
        "dissem": {
            "legalGate": "LO",
            "consent": {"status": "NSGT", "nsgtRsn": "Urgent"},
            "informFamily": {"ind": "Y"},
            "circ": ["MASH"],
        },
    },
    "nominals": [{"nomRef": "A", "roleCd": "SUBJ", "dob": "2014-05-05"}],
}
BEACON: dict[str, Any] = {
    "concernRef": "OAK-1",
    "setting": {"urn": "999101"},
    "raisedOn": "23/11/2026",
    "raisedAt": "09:00",
    "pupils": [{"upn": "U995400114001", "dateOfBirth": "2014-05-05"}],
    "nature": {"main": "Neglect", "mandatoryReport": False, "childSafeNow": True},
    "whatHappened": "An account.",
    "ground": "legal duty",
    "agreement": {"answer": "not asked", "whyNotAsked": "Urgent"},
    "family": {"status": "told"},
    "sendTo": ["childrens-front-door"],
}
WAYFARER = {
    "EPISODE_REF": "MIS-1",
    "EVENT_TYPE": "OPEN",
    "EVENT_DTM": "23/11/2026 08:00",
    "NOMINAL": "N1",
    "SURNAME": "Testchild",
    "DOB": "05/05/2012",
    "HOST_LA_GSS": "E10999001",
    "RISK_LVL": "MEDIUM",
    "RISK_DTM": "23/11/2026 08:30",
    "GATE": "LO",
    "CONSENT_RSN": "Missing child",
    "TELL_FAMILY": "Y",
    "CIRC": "MASH",
}
ENCOMPASS = {
    "Enc Ref": "ENC-1",
    "Incident No": "50260999002",
    "Incident Date": "22/11/2026",
    "Incident Time": "21:00",
    "Child Surname": "Testchild",
    "Child Forename": "Robin",
    "DOB": "05/05/2015",
    "School URN": "999101",
}
EVENT = {
    "class": "PPN",
    "sub": "CC",
    "action": "new",
    "ref": "MGP-1",
    "occurrence": "50260999003",
    "authority": "E10999001",
    "danger": "no",
}
INSIDE = {
    "Occurred": '<Occurred from="23/11/2026 08:00"/>',
    "Account": "<Account>An account.</Account>",
    "Gate": '<Gate code="LO"/>',
    "Permission": '<Permission answer="notasked" why="Urgent"/>',
    "Family": '<Family tell="yes"/>',
    "To": '<To code="MASH"/>',
}
ANSWERS = {
    "narrative": "An account.",
    "legal-ground": "legal-duty",
    "sharing-agreed": "not asked",
    "sharing-agreed-reason": "Urgent",
    "family-told": "yes",
}


def write_document(form: str, case: Mapping[str, Any]) -> bytes:
    """Return the document of a case: the smallest of its format with the case's changes (see ``mapping-cases.yaml``).

    In ``replace``, ``(long)`` stands for a text that is one character over the limit.
    """
    if "raw" in case:
        return str(case["raw"]).encode(case.get("encoding", "utf-8"))
    text = _WRITERS[form](case)
    for old, new in case.get("replace", {}).items():
        assert old in text, old
        text = text.replace(old, "a" * OVER_LIMIT if new == "(long)" else new)
    return text.encode(case.get("encoding", "utf-8"))


def change(document: Any, changes: Mapping[str, Any]) -> Any:
    """Return a copy in which dotted paths are set; ``(gone)`` removes, and a number one past the end of a list adds to it."""
    changed = copy.deepcopy(document)
    for path, value in changes.items():
        *steps, last = path.split(".")
        target = changed
        for step in steps:
            target = target[int(step)] if isinstance(target, list) else target.setdefault(step, {})
        if isinstance(target, list):
            target[int(last) : int(last) + 1] = [] if value == "(gone)" else [value]
        elif value == "(gone)":
            del target[last]
        else:
            target[last] = value
    return changed


def _write_json(base: Mapping[str, Any]) -> Any:
    return lambda case: json.dumps(change(base, case.get("set", {})), ensure_ascii=False)


def _write_csv(base: Mapping[str, str], mapping_id: str) -> Any:
    def write(case: Mapping[str, Any]) -> str:
        columns = list(load_mapping(mapping_id).reader.columns)
        out = io.StringIO()
        writer = csv.DictWriter(out, case.get("columns", sorted(columns) if case.get("reorder") else columns))
        writer.writeheader()
        for cells in case.get("rows", [case.get("set", {})]):
            writer.writerow({name: str(v) for name, v in {**base, **cells}.items() if v != "(gone)"})
        return out.getvalue()

    return write


def _write_pole(case: Mapping[str, Any]) -> str:
    attributes = {name: value for name, value in {**EVENT, **case.get("event", {})}.items() if value != "(gone)"}
    inside = {name: text for name, text in {**INSIDE, **case.get("inside", {})}.items() if text != "(gone)"}
    parties = case.get("parties", '<Party id="P1" kind="person"><Born>2014-05-05</Born></Party>')
    links = case.get("links", [["P1", "subject"]])
    written = "".join(f" {name}={quoteattr(str(value))}" for name, value in attributes.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<PoleExtract xmlns="{NAMESPACE}">{parties}'
        f'<Event id="E1"{written}>{"".join(inside.values())}</Event>'
        + "".join(f'<Link from="{one}" to="E1" as="{escape(role)}"/>' for one, role in links)
        + case.get("further", "")
        + "</PoleExtract>"
    )


def _write_bundle(case: Mapping[str, Any]) -> str:
    sender = case.get("sender", "trust")
    performers = case.get("performers", ["csc"])
    answers = {k: v for k, v in {**ANSWERS, **case.get("answers", {})}.items() if v != "(gone)"}
    patients = case.get("patients", [{"birthDate": "2014-05-05"}])
    request = {
        "resourceType": "ServiceRequest",
        "identifier": [{"system": "https://example.org/fhir/Id/epr-referral", "value": "EPR-1"}],
        "priority": case.get("priority", "routine"),
        "code": {"coding": [{"code": case.get("code", "child-welfare")}]},
        "authoredOn": "2026-11-23T09:00:00+00:00",
        "performer": [{"reference": f"urn:uuid:{name}"} for name in performers],
    }
    header = {"resourceType": "MessageHeader", "sender": {"reference": f"urn:uuid:{sender}"}}
    resources: list[tuple[str, dict[str, Any]]] = [("header", header), ("request", request)]
    for number, patient in enumerate(patients, 1):
        resources.append((f"patient-{number}", {"resourceType": "Patient", "id": f"pat-{number}", **patient}))
    for name in dict.fromkeys([sender, *performers]):
        system, value = ORGANISATIONS[name]
        identifier = [{"system": system, "value": value}]
        resources.append((name, {"resourceType": "Organization", "id": name, "identifier": identifier}))
    for barred in case.get("not_with", []):
        url = "https://example.org/fhir/StructureDefinition/do-not-share-with"
        flag = {"resourceType": "Flag", "extension": [{"url": url, "valueString": barred}]}
        resources.append((f"flag-{barred}", flag))
    items = [{"linkId": name, "answer": [_answer(value)]} for name, value in answers.items()]
    resources.append(("form", {"resourceType": "QuestionnaireResponse", "item": [{"linkId": "g1", "item": items}]}))
    bundle = {
        "resourceType": "Bundle",
        "identifier": {"value": "EPRMSG-1"},
        "type": "message",
        "timestamp": "2026-11-23T09:00:00+00:00",
        "entry": [{"fullUrl": f"urn:uuid:{name}", "resource": resource} for name, resource in resources],
    }
    return json.dumps(change(bundle, case.get("set", {})), ensure_ascii=False)


def _answer(value: Any) -> dict[str, Any]:
    return {"valueBoolean": value} if isinstance(value, bool) else {"valueString": value}


_WRITERS = {
    "corvid": _write_json(CORVID),
    "beacon": _write_json(BEACON),
    "wayfarer": _write_csv(WAYFARER, "police-wayfarer-missing"),
    "encompass": _write_csv(ENCOMPASS, "police-encompass"),
    "magpie": _write_pole,
    "fhir": _write_bundle,
}
