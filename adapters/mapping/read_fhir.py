"""A FHIR R4 message bundle as one record: resources by type, references followed, answers by linkId (FORMATS 1.5).

The bundle is BaRS-shaped and not conformant, so profiles are not validated: what the mapping needs is checked where it is read.
"""

from typing import Any

from adapters.mapping.nodes import Node
from schemas.errors import Rejected

_SINGLE = ("MessageHeader", "ServiceRequest", "QuestionnaireResponse")
_MAX_FOLLOW = 6


def gather_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return a record: ``Bundle``, each resource type by name, and ``answers``.

    A reference to another entry gains the member ``~target``, the resource that it means. A type of which there must be exactly one
    is there once; paths name the resource type, not its place in the bundle.

    Raises:
        Rejected: no message bundle, no MessageHeader in the first place, or one of the single resources missing or there twice.
    """
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "message":
        raise Rejected("a Bundle of type message is expected", field="type")
    entries = bundle.get("entry")
    resources: dict[str, list[dict[str, Any]]] = {}
    by_url: dict[str, dict[str, Any]] = {}
    for entry in entries if isinstance(entries, list) else ():
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            raise Rejected("an entry without a resource", field="entry")
        resources.setdefault(resource["resourceType"], []).append(resource)
        if isinstance(entry.get("fullUrl"), str):
            by_url[entry["fullUrl"]] = resource
        if len(resources) == 1 and "MessageHeader" not in resources:
            raise Rejected("a message begins with its MessageHeader", field="MessageHeader")
    for name in _SINGLE:
        if len(resources.get(name, ())) != 1:
            raise Rejected("exactly one is expected", field=name)
    record: dict[str, Any] = {"Bundle": Node({k: v for k, v in bundle.items() if k != "entry"}, "Bundle")}
    for name, found in resources.items():
        record[name] = [Node(_follow(resource, by_url, 0), name) for resource in found]
    response = resources["QuestionnaireResponse"][0]
    record["answers"] = Node(_collect_answers(response), "QuestionnaireResponse")
    return record


def _follow(value: Any, by_url: dict[str, dict[str, Any]], depth: int) -> Any:
    if isinstance(value, list):
        return [_follow(item, by_url, depth) for item in value]
    if not isinstance(value, dict):
        return value
    members = {name: _follow(item, by_url, depth) for name, item in value.items()}
    reference = value.get("reference")
    if isinstance(reference, str) and reference in by_url and depth < _MAX_FOLLOW:
        target = by_url[reference]
        plain = {name: item for name, item in target.items() if name in {"resourceType", "id", "identifier", "name"}}
        members["~target"] = Node(plain, str(target["resourceType"]))
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
