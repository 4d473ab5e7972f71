"""A FHIR R4 message bundle as one record: resources by type, references followed, answers by linkId (FORMATS 1.5).

The bundle is BaRS-shaped and not conformant, so profiles are not validated: what the mapping needs is checked where it is read.
"""

from typing import Any

from adapters.mapping.nodes import Node
from schemas.errors import Rejected

_SINGLE = ("MessageHeader", "ServiceRequest", "QuestionnaireResponse")
_TARGET_MEMBERS = frozenset({"resourceType", "id", "identifier", "name"})
_REFERENCE_MEMBERS = frozenset({"id", "extension", "reference", "type", "identifier", "display"})
"""Members of a FHIR Reference: what has others beside its identifier is no reference."""


def gather_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return a record: ``Bundle``, each resource type by name, and ``answers``.

    A reference to another entry (by its URL, or by type and id), to a contained resource, or by identifier alone gains the member
    ``~target``, the resource that it means (FHIR R4, References). A type of which there must be exactly one is there once; paths name the
    resource type, not its place in the bundle.

    Raises:
        Rejected: no message bundle, no MessageHeader in the first place, or one of the single resources missing or there twice.
    """
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "message":
        raise Rejected("a Bundle of type message is expected", field="Bundle.type")
    entries = bundle.get("entry")
    resources: dict[str, list[dict[str, Any]]] = {}
    by_url: dict[str, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise Rejected("an entry without a resource", field="Bundle.entry")
        resources.setdefault(resource["resourceType"], []).append(resource)
        if isinstance(entry.get("fullUrl"), str):
            by_url[entry["fullUrl"]] = resource
        if isinstance(resource.get("id"), str):
            by_url.setdefault(f"{resource['resourceType']}/{resource['id']}", resource)
        if len(resources) == 1 and "MessageHeader" not in resources:
            raise Rejected("a message begins with its MessageHeader", field="MessageHeader")
    for name in _SINGLE:
        if len(resources.get(name, ())) != 1:
            raise Rejected("exactly one is expected", field=name)
    response = resources["QuestionnaireResponse"][0]
    # Answers come first, so that a fault in one is named by its linkId and not by its place in the form.
    record: dict[str, Any] = {"answers": Node(_collect_answers(response), "QuestionnaireResponse")}
    record["Bundle"] = Node({k: v for k, v in bundle.items() if k != "entry"}, "Bundle")
    for name, found in resources.items():
        record[name] = [
            Node(_follow(resource, {**by_url, **_list_contained(resource)}, name), name) for resource in found
        ]
    return record


def _list_contained(resource: dict[str, Any]) -> dict[str, dict[str, Any]]:
    contained = [one for one in _as_list(resource.get("contained")) if isinstance(one, dict)]
    return {f"#{one['id']}": one for one in contained if isinstance(one.get("id"), str)}


def _follow(value: Any, by_url: dict[str, dict[str, Any]], path: str) -> Any:
    if isinstance(value, list):
        return [_follow(item, by_url, f"{path}[{number}]") for number, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    members = {name: _follow(item, by_url, f"{path}.{name}") for name, item in value.items()}
    reference = value.get("reference")
    if isinstance(reference, str) and (target := by_url.get(reference)) is not None:
        plain = {name: item for name, item in target.items() if name in _TARGET_MEMBERS}
        members["~target"] = Node(plain, str(target.get("resourceType", path)))
    elif isinstance(value.get("identifier"), dict) and value.keys() <= _REFERENCE_MEMBERS:
        members["~target"] = Node({"identifier": [value["identifier"]]}, path)
    return members


def _collect_answers(response: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, list[Any]] = {}
    pending = [item for item in reversed(_as_list(response.get("item"))) if isinstance(item, dict)]
    while pending:
        item = pending.pop()
        name = item.get("linkId")
        for answer in _as_list(item.get("answer")):
            value = _read_answer(answer)
            if isinstance(name, str) and value is not None:
                answers.setdefault(name, []).append(Node(value, f"QuestionnaireResponse.{name}"))
            pending.extend(
                i
                for i in reversed(_as_list(answer.get("item") if isinstance(answer, dict) else None))
                if isinstance(i, dict)
            )
        pending.extend(i for i in reversed(_as_list(item.get("item"))) if isinstance(i, dict))
    return dict(answers)


def _read_answer(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return None
    for name, value in answer.items():
        if not name.startswith("value"):
            continue
        if isinstance(value, dict):
            return value.get("code") or value.get("display") or value.get("value")
        return value
    return None


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
