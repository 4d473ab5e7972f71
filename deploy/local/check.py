"""``CHECK=1``: hold every result of the demonstration against the folder's ``expected.yaml``, and write ``check.json``."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deploy.local.expectation import Difference, compare_record, describe_decision, describe_referral
from deploy.local.files import write_secret
from deploy.local.story import ToldDocument, ToldReferral, iterate_sections

SENT = ("full", "summary", "pointer")
WHOLE = ("(document)", "(header)")


@dataclass(slots=True)
class CheckReport:
    """How many records were compared, how many agree, and every difference."""

    records: int = 0
    agreeing: int = 0
    differences: list[Difference] = field(default_factory=list)

    def note(self, found: Sequence[Difference]) -> None:
        """Count one record with what was found in it."""
        self.records += 1
        self.agreeing += not found
        self.differences += found

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        document = {
            "records": self.records,
            "agreeing": self.agreeing,
            "differences": [asdict(difference) for difference in self.differences],
        }
        write_secret(path, json.dumps(document, indent=1, ensure_ascii=False, default=str))


class Check:
    """One folder's expected results."""

    def __init__(self, expected: dict[str, Any]) -> None:
        """Index the expected records."""
        self._good = {(entry["file"], entry["record"]): entry for entry in expected.get("referrals", ())}
        self._bad: dict[str, list[dict[str, Any]]] = {}
        for entry in expected.get("bad", ()):
            self._bad.setdefault(entry["file"], []).append(entry)
        self.report = CheckReport()

    def check_good(self, told: ToldDocument) -> list[Difference]:
        """Compare a good document's records: what was mapped, decided, clocked, and what each recipient could open."""
        found: list[Difference] = []
        seen = set()
        for referral in told.referrals:
            seen.add(referral.record)
            expected = self._good.get((told.document, referral.record))
            if expected is None:
                found.append(Difference(referral.name, "record", "none", "accepted"))
                continue
            differences = [*compare_record(referral.name, expected, observe(referral))]
            differences += _compare_opened(referral)
            differences += _search_canaries(referral, expected.get("canaries") or {})
            self.report.note(differences)
            found += differences
        for document, record in self._good:
            if document == told.document and record not in seen:
                missing = Difference(f"{document}#{record}", "record", "accepted", _codes(told.faults))
                self.report.note([missing])
                found.append(missing)
        return found

    def check_bad(self, told: ToldDocument) -> list[Difference]:
        """Compare a bad document: each fault at its field, nothing sent of it, the good records unharmed."""
        found: list[Difference] = []
        for expected in self._bad.get(told.document, ()):
            differences = [*_compare_fault(told, expected)]
            self.report.note(differences)
            found += differences
        return found


def observe(told: ToldReferral) -> dict[str, Any]:
    """Return one referral in the form of ``expected.yaml``: mapped facts, the decisions its sender was told, and its clocks."""
    observed = describe_referral(told.referral)
    decisions = []
    for entry in told.referral.circulation:
        delivery = told.find_delivery(entry)
        if delivery is not None:
            asked = {"recipient": entry.agency, "role": entry.role, "purpose": entry.purpose}
            decisions.append(describe_decision({**delivery["decision"], "outcome": delivery["outcome"], **asked}))
    observed["decisions"] = decisions
    observed["clocks"] = told.view.get("clocks", [])
    return observed


def _compare_opened(told: ToldReferral) -> Iterator[Difference]:
    """A recipient opened exactly the compartments that its decision lets go, in no wider form (a pointer may stand for a summary: CH-28)."""
    for delivery in told.deliveries:
        permitted = {c: d["result"] for c, d in delivery["decision"]["compartments"].items() if d["result"] in SENT}
        opened = told.opened.get(delivery["delivery_id"])
        where = f"opened by {delivery['recipient']}"
        if (opened is None) == (delivery["outcome"] == "delivered"):
            yield Difference(told.name, where, delivery["outcome"], "nothing" if opened is None else "something")
        if opened is None:
            continue
        forms: dict[str, set[str]] = {}
        for compartment, form, _ in iterate_sections(opened):
            forms.setdefault(compartment, set()).add(form)
        own = _own_compartments(told, opened)
        if set(forms) - set(permitted) or own - set(forms):
            yield Difference(told.name, where, sorted(permitted), sorted(forms))
        for compartment, found in forms.items():
            allowed = {permitted.get(compartment), "pointer" if permitted.get(compartment) == "summary" else None}
            if not found <= allowed:
                yield Difference(told.name, f"{where}: {compartment}", permitted.get(compartment), sorted(found))


def _own_compartments(told: ToldReferral, opened: dict[str, Any]) -> set[str]:
    """Return the permitted compartments that hold something for this recipient (a school: of its own children, or of the incident)."""
    delivery_id = opened["referral"]["delivery_id"]
    delivery = next(d for d in told.deliveries if d["delivery_id"] == delivery_id)
    recipient = delivery["recipient"]
    narrowed = delivery["role"] in {"dsl", "gp"}
    own = {s.ref for s in told.referral.subjects if not narrowed or recipient in s.tied_agencies}
    present = {p.compartment.value for p in told.referral.parts if p.subject_ref is None or p.subject_ref in own}
    return {c for c, d in delivery["decision"]["compartments"].items() if d["result"] in SENT and c in present}


def _search_canaries(told: ToldReferral, canaries: dict[str, Sequence[str]]) -> Iterator[Difference]:
    """A canary stands in nothing that any recipient opened, save in its own compartment."""
    for delivery_id, opened in told.opened.items():
        recipient = next(d["recipient"] for d in told.deliveries if d["delivery_id"] == delivery_id)
        elsewhere = {name: value for name, value in opened.items() if name != "referral"}
        rest = {name: value for name, value in opened["referral"].items() if name != "sections"}
        for compartment, words in canaries.items():
            others = [s for c, _, s in iterate_sections(opened) if c != compartment]
            text = json.dumps([elsewhere, rest, others], ensure_ascii=False)
            for number, word in enumerate(words):
                if word in text:
                    yield Difference(told.name, f"canary {compartment}[{number}] at {recipient}", "absent", "found")


def _compare_fault(told: ToldDocument, expected: dict[str, Any]) -> Iterator[Difference]:
    name = f"{told.document}#{expected['record'] or 'document'}"
    wanted = expected["field"]
    faults = [f for f in told.faults if expected["record"] is None or f.get("number") in (None, expected["record"])]
    if not any(_is_field(str(fault.get("field") or ""), wanted) for fault in faults):
        yield Difference(name, "field", wanted, [fault.get("field") for fault in faults])
    accepted = sorted(referral.record for referral in told.referrals)
    if accepted != sorted(expected.get("accepted_records", ())):
        yield Difference(name, "accepted", expected.get("accepted_records", []), accepted)


def _is_field(found: str, wanted: str) -> bool:
    """A longer path that ends in the expected one is right too (FORMATS 2.1)."""
    return found == wanted or (wanted not in WHOLE and found.endswith((f".{wanted}", f"/{wanted}", wanted)))


def _codes(faults: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{fault.get('code')} at {fault.get('field')}" for fault in faults]
