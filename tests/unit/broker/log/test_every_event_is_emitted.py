"""Every kind of event in the catalogue is logged by some code of the hub: a catalogue that promises more than is logged would mislead an auditor."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from broker.log.events import CATALOGUE

ROOT = Path(__file__).parents[4]
EMITTERS = {"salted": 0, "clear": 0, "from_bytes": 0, "tell_of": 2, "append": 1}
"""Functions that make events, and which argument is the kind."""


def find_emitted(source: str) -> set[str]:
    """Return the kinds that a module logs: named in the call itself or, where the call takes a variable, anywhere in the module."""
    tree = ast.parse(source)
    named: set[str] = set()
    by_variable = False
    for node in ast.walk(tree):
        place = EMITTERS.get(_name(node))
        if place is None or not isinstance(node, ast.Call) or len(node.args) <= place:
            continue
        kind = node.args[place]
        if isinstance(kind, ast.Constant):
            named.add(str(kind.value))
        elif isinstance(kind, ast.Name) and kind.id.isupper():
            named.add(_import(tree, kind.id))
        else:
            by_variable |= _name(node) != "append"
    if by_variable:
        named |= {str(n.value) for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in CATALOGUE}
    return named


def _import(tree: ast.Module, name: str) -> str:
    """Return the value of an imported constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and name in {alias.name for alias in node.names}:
            return str(getattr(importlib.import_module(node.module), name))
    return ""


def _name(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute) and node.func.attr == "append":
        return "append"  # the console's journal
    if isinstance(node.func, ast.Attribute):
        return node.func.attr if isinstance(node.func.value, ast.Name) and node.func.value.id == "NewEvent" else ""
    return node.func.id if isinstance(node.func, ast.Name) else ""


def modules() -> Iterator[Path]:
    for folder in ("broker", "deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != ROOT / "broker" / "log" / "events.py":
                yield path


@cache
def find_all_emitted() -> set[str]:
    return {kind for path in modules() for kind in find_emitted(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("kind", CATALOGUE)
def test_some_code_logs_it(kind: str) -> None:
    assert kind in find_all_emitted(), (
        "nothing logs this kind: log it where it happens, or take it out of the catalogue"
    )


def test_the_search_finds_what_is_logged_and_nothing_else() -> None:
    assert find_emitted('NewEvent.clear("heartbeat", {})') == {"heartbeat"}
    assert find_emitted('kind = "export" if x else "audit_read"\nNewEvent.salted(kind, {})') == {"export", "audit_read"}
    assert find_emitted('tell_of(effects, agency, "overdue", members)') == {"overdue"}
    assert find_emitted('words = {"configuration": "It changed."}') == set()
