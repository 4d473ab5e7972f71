"""Decision cases: facts in, outcome out (FORMATS 2.2). Officers keep their own files in the same form as tests of a pack."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from broker.decisions.case_facts import build_case_facts
from broker.decisions.engine import DecisionEngine
from schemas.decision import Decision
from schemas.errors import Rejected
from schemas.plain_yaml import PlainLoader, read_yaml

MAX_FILE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its facts as written, and what is expected (none: only to be shown)."""

    id: str
    title: str
    data: Mapping[str, Any]
    expect: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case, the decision, and each difference as (what, expected, found)."""

    case: Case
    decision: Decision
    differences: tuple[tuple[str, Any, Any], ...]


def load_cases(path: Path) -> list[Case]:
    """Read a file of decision cases.

    Raises:
        Rejected: the file cannot be read, is over 16 MiB, is not YAML, or a case lacks its id or facts.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Rejected(f"is over {MAX_FILE_BYTES} bytes", field=path.name)
        data = read_yaml(path.read_text(encoding="utf-8"), _TextLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Rejected(f"cannot be read as YAML ({type(error).__name__})", field=path.name) from None
    cases = data.get("cases") if isinstance(data, dict) else None
    if not isinstance(cases, list):
        raise Rejected("has no list of cases", field=path.name)
    found = []
    for number, case in enumerate(cases):
        if not isinstance(case, dict) or not all(isinstance(case.get(part), dict) for part in ("recipient", "header")):
            raise Rejected("lacks its recipient or header", field=f"{path.name} cases[{number}]")
        found.append(Case(str(case.get("id", number)), str(case.get("title", "")), case, case.get("expect") or {}))
    return found


def check_cases(engine: DecisionEngine, cases: list[Case]) -> list[CaseResult]:
    """Decide every case and compare it with what it expects (``because`` is for people and is not compared).

    Raises:
        Rejected: a case's facts are not of their form.
    """
    results = []
    for case in cases:
        decision = engine.decide_facts(build_case_facts(case.id, case.data, engine))
        results.append(CaseResult(case, decision, tuple(_compare(case.expect, decision))))
    return results


def _compare(expect: Mapping[str, Any], decision: Decision) -> list[tuple[str, Any, Any]]:
    if not expect:
        return []
    found: list[tuple[str, Any, Any]] = []
    pairs = [
        ("outcome", expect.get("outcome"), decision.outcome.value),
        ("row", expect.get("row"), decision.row),
        ("deliver_to", expect.get("deliver_to"), decision.deliver_to),
        ("queue", bool(expect.get("queue")), decision.queue),
        ("alerts", sorted(expect.get("alerts") or ()), sorted(decision.alerts)),
        ("emits", sorted(expect.get("emits") or ()), sorted(decision.emits)),
        ("retrospective_review", bool(expect.get("retrospective_review")), decision.retrospective_review),
    ]
    found += [pair for pair in pairs if pair[1] != pair[2]]
    expected = {code: tuple(value) for code, value in (expect.get("compartments") or {}).items()}
    decided = {code.value: (c.result.value, c.row) for code, c in decision.compartments.items()}
    for code in sorted({*expected, *decided}):
        if expected.get(code) != decided.get(code):
            found.append((f"compartments.{code}", expected.get(code), decided.get(code)))
    return found


class _TextLoader(PlainLoader):
    """Leaves dates as text, so that an instant without an offset is noticed rather than guessed."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in PlainLoader.yaml_implicit_resolvers.items()
}
