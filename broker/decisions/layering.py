"""A partnership's local pack over the national one: it may restrict, and relax only what the national pack marks as local choice.

The loader proves it by form. A Cedar ``forbid`` can only take away, so a local pack adds forbids alone, reported after the national ones; it
may drop a permit, which takes away too; it may narrow a cell, or widen one as far as ``local_choices`` says. Anything else is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cedarpy

from broker.decisions.matrix import NO_CELL, Matrix, Row
from broker.decisions.pack import PolicyPack, build_pack, read_pack_files, read_pack_yaml
from schemas.errors import ConfigInvalid

LOCAL_STEP = 300
LOCAL_FILE = "local.yaml"
_MEMBERS = frozenset({"id", "title", "owner", "drop", "cells", "approvers_needed"})
_NARROWER = {
    "F": frozenset("FSPA-"),
    "S": frozenset("SP-"),
    "P": frozenset("P-"),
    "A": frozenset("A-"),
    "-": frozenset("-"),
}


def layer_pack(pack: PolicyPack, folder: Path) -> PolicyPack:
    """Return ``pack`` with the local pack in ``folder`` over it.

    Raises:
        ConfigInvalid: the local pack does more than restrict, beyond what is marked as local choice; or it is not of its form.
    """
    return layer_files(pack, read_pack_files(folder))


def layer_files(pack: PolicyPack, files: Mapping[str, str]) -> PolicyPack:
    """Return ``pack`` with the local pack of these files' texts over it.

    Raises:
        ConfigInvalid: as for ``layer_pack``.
    """
    local = read_pack_yaml(files, LOCAL_FILE)
    if unknown := set(local) - _MEMBERS:
        raise ConfigInvalid(f"has members that it may not have: {', '.join(sorted(unknown))}", field=LOCAL_FILE)
    own_text = "\n".join(text for name, text in sorted(files.items()) if name.endswith(".cedar"))
    if not isinstance(local.get("id"), str):
        raise ConfigInvalid("has no id", field=LOCAL_FILE)
    kept = _drop_policies(pack, list(local.get("drop") or ()))
    layered = build_pack(
        schema_text=pack.schema_text,
        policy_text=f"{kept}\n{own_text}",
        about={**pack.about, "approvers_needed": _raise_approvers(pack, local.get("approvers_needed") or {})},
        matrix=_change_cells(pack, list(local.get("cells") or ())),
        purposes=pack.purposes,
        clock_rules=pack.clock_rules,
        digest=_digest(pack, files),
    )
    _refuse_more_than_forbids(pack, own_text, layered, pack.about.get("remaining", {}))
    return replace(layered, id=f"{pack.id}+{local['id']}")


def _refuse_more_than_forbids(pack: PolicyPack, own_text: str, layered: PolicyPack, groups: Mapping[str, str]) -> None:
    if not own_text.strip():
        return
    for body in json.loads(cedarpy.policies_to_json_str(own_text))["staticPolicies"].values():
        policy = layered.policies[body["annotations"]["id"]]
        if body["effect"] != "forbid" or body["action"].get("entity", {}).get("id") not in groups:
            raise ConfigInvalid(f"may only forbid one of: {', '.join(groups)}", field=policy.id)
        if policy.step < LOCAL_STEP:
            raise ConfigInvalid(
                f"needs a step of {LOCAL_STEP} or more, so that national reasons are reported first", field=policy.id
            )
        if policy.id in pack.policies:
            raise ConfigInvalid("has the id of a national policy", field=policy.id)


def _drop_policies(pack: PolicyPack, dropped: list[str]) -> str:
    """Return the national policies without those dropped: permits, or what is marked as local choice; never a note or the fallback."""
    if not dropped:
        return pack.policy_text
    choices = set(pack.about.get("local_choices", {}).get("policies") or ())
    for name in dropped:
        policy = pack.policies.get(name)
        if policy is None or policy is pack.fallback or policy.alert or policy.emits:
            raise ConfigInvalid("cannot be dropped by a local pack", field=name)
        if policy.effect == "forbid" and name not in choices:
            raise ConfigInvalid("is not marked as a local choice", field=name)
    body = json.loads(cedarpy.policies_to_json_str(pack.policy_text))
    body["staticPolicies"] = {k: p for k, p in body["staticPolicies"].items() if p["annotations"]["id"] not in dropped}
    return cedarpy.policies_from_json_str(json.dumps(body))


def _change_cells(pack: PolicyPack, changes: list[Mapping[str, Any]]) -> Matrix:
    """Return the matrix with cells changed, each narrower or within what is marked as local choice."""
    matrix = pack.matrix
    choices = pack.about.get("local_choices", {}).get("cells") or ()
    limits = {(c["kind"], c["role"], c["compartment"]): str(c["at_most"]) for c in choices}
    for change in changes:
        try:
            kind, role, code, cell = (str(change[name]) for name in ("kind", "role", "compartment", "cell"))
        except (KeyError, TypeError):
            raise ConfigInvalid("needs kind, role, compartment and cell", field=f"{LOCAL_FILE} cells") from None
        field = f"{LOCAL_FILE} cells {kind} {role} {code}"
        rows = [row for row in matrix.rows if kind in row.kinds and role in row.roles]
        if not rows or cell not in matrix.forms or code not in rows[0].cells or code in matrix.companions:
            raise ConfigInvalid("is no cell of the national matrix", field=field)
        first = rows[0]
        now = first.cells[code]
        limit = limits.get((kind, role, code), NO_CELL)
        if cell not in _NARROWER[now] and cell not in _NARROWER[limit]:
            raise ConfigInvalid("would be wider than the national matrix, and is no local choice", field=field)
        own = Row(
            number=max(row.number for row in matrix.rows) + 1,
            kinds=frozenset({kind}),
            roles=frozenset({role}),
            requires=first.requires,
            cells={**first.cells, code: cell},
        )
        matrix = replace(matrix, rows=(own, *matrix.rows))
    return matrix


def _raise_approvers(pack: PolicyPack, asked: Mapping[str, Any]) -> dict[str, int]:
    national: dict[str, int] = dict(pack.about.get("approvers_needed") or {"default": 1})
    for name, count in asked.items():
        if not isinstance(count, int) or count < int(national.get(name, national.get("default", 1))):
            raise ConfigInvalid("may only ask for more approvers", field=f"{LOCAL_FILE} approvers_needed")
    return {**national, **asked}


def _digest(pack: PolicyPack, files: Mapping[str, str]) -> str:
    digest = hashlib.sha256(pack.digest.encode())
    for name, text in sorted(files.items()):
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()
