"""Python holds no rule: no row id, kind, role or purpose is named in decision code (DESIGN, Decisions)."""

import ast
import re
from pathlib import Path

import pytest

import broker.decisions
from schemas.codes import Kind
from tests.support.decisions import default_pack

FILES = sorted(Path(broker.decisions.__file__).parent.glob("*.py"))
ROW_ID = re.compile(r"\bD(?:[0-9]|1[0-2])\b")
COMPARTMENT = re.compile(r"\bC(?:0[1-9]|1[0-7])\b")


def list_code_strings(path: Path) -> list[str]:
    """Return names and string constants of a module, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    strings = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs
    ]
    return strings + [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_row_id_in_decision_code(path: Path) -> None:
    assert not ROW_ID.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_kind_role_purpose_or_compartment_in_decision_code(path: Path) -> None:
    pack = default_pack()
    rules = {*(kind.value for kind in Kind), *pack.matrix.roles, *pack.purposes.groups}
    named = [text for text in list_code_strings(path) if text in rules or COMPARTMENT.search(text)]
    assert not named


def test_the_search_would_find_a_row() -> None:
    assert ROW_ID.search('if row == "D12":')
    assert "CP_S47" in {kind.value for kind in Kind}
