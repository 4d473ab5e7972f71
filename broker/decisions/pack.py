"""A policy pack: Cedar policies with a strict schema, the need-to-know matrix, purposes, and where each rule comes from (DESIGN, Decisions).

A pack is a folder of text files. Loading validates every policy against the schema, reads its annotations, and takes one digest over all
bytes, which decision records and the signed directory name. Nothing here knows a row, a kind or a role: those are in the files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy
import yaml

from broker.decisions.clocks import ClockRules, parse_clock_rules
from broker.decisions.matrix import Matrix, parse_matrix
from broker.decisions.purposes import Purposes, parse_purposes
from schemas.codes import CompartmentResult
from schemas.errors import ConfigInvalid
from schemas.plain_yaml import read_yaml

PACKS_FOLDER = Path(__file__).parent / "policies"
DEFAULT_PACK = PACKS_FOLDER / "england-2026-09"
MAX_FILE_BYTES = 1024 * 1024

AUTHORISES = "authorises"
NAMES_ROW = "row"


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy's annotations: what people read when it decides."""

    id: str
    effect: str
    row: str
    step: int
    reason: str
    authority: str
    told: str
    """What its recipient is told in place of row, reason and authority, where these rest on facts that it may not have."""
    remaining: CompartmentResult | None
    """For a forbid on a group of outcomes: the widest result that it leaves."""
    names: str
    """``row`` for a permit that only names the row of what another permit authorises."""
    queue: bool
    alert: str
    emits: str
    review: bool


@dataclass(frozen=True, slots=True)
class PolicyPack:
    """A loaded pack. ``policy_set`` and ``entities`` are parsed handles, reused for every question."""

    id: str
    title: str
    digest: str
    policies: Mapping[str, Policy]
    policy_set: Any
    schema_text: str
    policy_text: str
    matrix: Matrix
    purposes: Purposes
    clock_rules: ClockRules
    fallback: Policy
    about: Mapping[str, Any]

    def wants_a_person(self, policy_id: str) -> bool:
        """Return whether what this policy withholds is for a person to look at."""
        policy = self.policies.get(policy_id)
        return policy is not None and policy.queue

    def approvers_needed(self, compartment: str, local: Mapping[str, Any]) -> int:
        """Return how many different approvers release ``compartment``; ``local`` settings may only ask for more."""
        needed = self.about.get("approvers_needed", {})
        own = int(needed.get(compartment, needed.get("default", 1)))
        return max(own, int(local.get(compartment, local.get("default", 1))))


def load_pack(folder: Path | str = DEFAULT_PACK) -> PolicyPack:
    """Load, validate and digest the pack in ``folder`` (``layering.layer_pack`` puts a local one over it).

    Raises:
        ConfigInvalid: a file is missing, unreadable or over 1 MiB; a policy does not parse, does not pass the strict schema, or lacks
            an annotation; the matrix or purposes break their form.
    """
    return load_pack_files(read_pack_files(Path(folder)))


def load_pack_files(files: Mapping[str, str]) -> PolicyPack:
    """Load, validate and digest a pack from its files' texts by name.

    Raises:
        ConfigInvalid: as for ``load_pack``.
    """
    about = read_pack_yaml(files, "pack.yaml")
    schema_text = _take(files, "schema.cedarschema")
    policy_text = "\n".join(text for name, text in sorted(files.items()) if name.endswith(".cedar"))
    return build_pack(
        schema_text=schema_text,
        policy_text=policy_text,
        about=about,
        matrix=parse_matrix(read_pack_yaml(files, "matrix.yaml")),
        purposes=parse_purposes(read_pack_yaml(files, "purposes.yaml")),
        clock_rules=parse_clock_rules(read_pack_yaml(files, "clocks.yaml")),
        digest=_digest_files(files),
    )


def build_pack(
    *,
    schema_text: str,
    policy_text: str,
    about: Mapping[str, Any],
    matrix: Matrix,
    purposes: Purposes,
    clock_rules: ClockRules,
    digest: str,
) -> PolicyPack:
    """Validate the parts of a pack and join them; ``load_pack`` reads them from a folder.

    Raises:
        ConfigInvalid: as for ``load_pack``.
    """
    try:
        validated = cedarpy.validate_policies(policy_text, schema_text)
        if not validated.validation_passed:
            names = validated.id_annotations_by_policy_id
            first = validated.errors[0]
            raise ConfigInvalid(
                f"does not pass the schema: {first.error}", field=names.get(first.policy_id, "policies")
            )
        policies = _read_annotations(policy_text, about.get("remaining", {}))
        policy_set = cedarpy.PolicySet.from_str(policy_text)
    except ValueError as error:
        raise ConfigInvalid(f"does not parse ({type(error).__name__})", field="policies") from None
    fallback = policies.get(str(about.get("fallback")))
    if fallback is None or fallback.effect != "permit":
        raise ConfigInvalid("names no permit of this pack", field="fallback")
    return PolicyPack(
        id=str(about["id"]),
        title=str(about.get("title", "")),
        digest=digest,
        policies=policies,
        policy_set=policy_set,
        schema_text=schema_text,
        policy_text=policy_text,
        matrix=matrix,
        purposes=purposes,
        clock_rules=clock_rules,
        fallback=fallback,
        about=about,
    )


def read_pack_files(folder: Path) -> dict[str, str]:
    """Return the text of each policy, schema and YAML file in ``folder`` by name.

    Raises:
        ConfigInvalid: the folder is missing, or a file is unreadable or over 1 MiB.
    """
    if not folder.is_dir():
        raise ConfigInvalid("is not a folder", field="policies")
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix not in {".cedar", ".cedarschema", ".yaml"}:
            continue
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ConfigInvalid(f"is over {MAX_FILE_BYTES} bytes", field=path.name)
            files[path.name] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"cannot be read ({type(error).__name__})", field=path.name) from None
    return files


def _take(files: Mapping[str, str], name: str) -> str:
    if name not in files:
        raise ConfigInvalid("is missing from the pack", field=name)
    return files[name]


def read_pack_yaml(files: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return the mapping in the YAML file ``name``.

    Raises:
        ConfigInvalid: it is missing, or is no mapping in YAML.
    """
    try:
        data = read_yaml(_take(files, name))
    except yaml.YAMLError as error:
        raise ConfigInvalid(f"is not YAML ({type(error).__name__})", field=name) from None
    if not isinstance(data, dict):
        raise ConfigInvalid("must be a mapping", field=name)
    return data


def _digest_files(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        for part in (name.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def _read_annotations(policy_text: str, remaining: Mapping[str, str]) -> dict[str, Policy]:
    policies: dict[str, Policy] = {}
    for body in json.loads(cedarpy.policies_to_json_str(policy_text))["staticPolicies"].values():
        policy = _read_policy(body, remaining)
        if policy.id in policies:
            raise ConfigInvalid("is used by two policies", field=policy.id)
        policies[policy.id] = policy
    return policies


def _read_policy(body: Mapping[str, Any], remaining: Mapping[str, str]) -> Policy:
    notes = body.get("annotations", {})
    policy_id = notes.get("id", "")
    action = body["action"].get("entity", {}).get("id", "")
    is_note = "alert" in notes or "emits" in notes
    for name in (
        ("id", "reason", "authority")
        if is_note and "row" not in notes
        else ("id", "reason", "authority", "row", "step")
    ):
        if not notes.get(name):
            raise ConfigInvalid(f"has no @{name}", field=policy_id or "a policy without @id")
    left = remaining.get(action)
    return Policy(
        id=policy_id,
        effect=body["effect"],
        row=notes.get("row", ""),
        step=int(notes.get("step", "0")),
        reason=notes["reason"],
        authority=notes["authority"],
        told=notes.get("told", ""),
        remaining=CompartmentResult(left) if left else None,
        names=notes.get("names", AUTHORISES),
        queue=notes.get("queue") == "yes",
        alert=notes.get("alert", ""),
        emits=notes.get("emits", ""),
        review="review" in notes,
    )
