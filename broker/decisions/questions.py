"""Asks Cedar: one question, or many about the same facts, each answered by the annotated policies that decided it.

Fails closed. Cedar skips a policy that errors, so that an erroring ``forbid`` would let an ``Allow`` through; any diagnostic error, missing
decision or refused request (a context that lacks a fact of the schema, a resource that it does not know) is an ``Answer`` that permits nothing.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cedarpy

from broker.decisions.pack import NAMES_ROW, Policy, PolicyPack
from schemas.codes import Compartment
from schemas.errors import ConfigInvalid

CLOSED_ROW = "closed"
"""Resource ids of compartments without a cell."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What Cedar said: whether it may be, and the policies that decided, lowest step first. ``failed``: an error, so it may not."""

    allowed: bool
    policies: tuple[Policy, ...]
    failed: bool = False


FAILED = Answer(allowed=False, policies=(), failed=True)


class CedarAsker:
    """Holds the parsed policies and entities of one pack, and asks questions of them."""

    def __init__(self, pack: PolicyPack) -> None:
        self._pack = pack
        try:
            self._schema = cedarpy.Schema.from_str(pack.schema_text)
            self._entities = cedarpy.Entities.from_json_str(json.dumps(_build_entities(pack)), self._schema)
        except ValueError as error:
            raise ConfigInvalid(f"does not fit the schema ({type(error).__name__})", field="matrix.yaml") from None

    def ask(self, role: str, questions: Iterable[tuple[str, str, str]], context: str) -> list[Answer]:
        """Ask ``(action, resource type, resource id)`` for ``role`` under one JSON ``context``; answers come in the same order."""
        requests: list[dict[str, Any]] = [
            {
                "principal": {"type": "Role", "id": role},
                "action": {"type": "Action", "id": action},
                "resource": {"type": kind, "id": name},
                "context": context,
            }
            for action, kind, name in questions
        ]
        try:
            results = cedarpy.is_authorized_batch(requests, self._pack.policy_set, self._entities, self._schema)
        except (ValueError, TypeError):
            return [FAILED] * len(requests)
        return [self._read(result) for result in results]

    def _read(self, result: cedarpy.AuthzResult) -> Answer:
        diagnostics = result.diagnostics
        if diagnostics.errors or result.decision is cedarpy.Decision.NoDecision:
            return FAILED
        found: Sequence[str] = list(diagnostics.id_annotations_by_reason.values())
        policies = [self._pack.policies[name] for name in found]
        if result.allowed and not any(policy.names != NAMES_ROW for policy in policies):
            return FAILED
        return Answer(allowed=result.allowed, policies=tuple(sorted(policies, key=lambda p: (p.step, p.id))))


def _build_entities(pack: PolicyPack) -> list[dict[str, Any]]:
    matrix = pack.matrix
    entities: list[dict[str, Any]] = []
    for kind, names in (("Kind", matrix.kinds), ("Grade", matrix.grades), ("Purpose", pack.purposes.groups)):
        entities += [
            {"uid": _uid(kind, name), "attrs": {}, "parents": [_uid("Group", group) for group in groups]}
            for name, groups in names.items()
        ]
    for row in matrix.rows:
        entities += [
            _compartment(str(row.number), code, cell, code in matrix.companions) for code, cell in row.cells.items()
        ]
    entities += [_compartment(CLOSED_ROW, code.value, "-", code.value in matrix.companions) for code in Compartment]
    entities += [
        {"uid": _uid("Subject", name), "attrs": {"tied": tied}, "parents": []} for name, tied in _SUBJECTS.items()
    ]
    return entities


_SUBJECTS = {"tied": True, "other": False}


def name_subject(*, tied: bool) -> str:
    """Return the resource id that stands for a subject, tied to the recipient or not."""
    return "tied" if tied else "other"


def _compartment(row: str, code: str, cell: str, companion: bool) -> dict[str, Any]:  # noqa: FBT001 - attribute of an entity
    return {
        "uid": _uid("Compartment", f"{row}/{code}"),
        "attrs": {"code": code, "cell": cell, "companion": companion},
        "parents": [],
    }


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}
