"""What the hub cuts out of a verified envelope for one recipient. It can only narrow, and it never writes a part anew."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from schemas.canonical import encode_base64url
from schemas.codes import Compartment, Form
from schemas.envelope.errors import UndeclaredEntry
from schemas.envelope.model import INCIDENT, SectionDescriptor
from schemas.envelope.verify import VerifiedEnvelope


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """What one recipient may have of an envelope: the parts as the sender sealed them, never written anew."""

    delivery_id: str
    manifest_jws: Mapping[str, Any] = field(repr=False)
    openings: tuple[str, ...] = field(repr=False)
    sections: Mapping[str, str] = field(repr=False)
    keyring: Mapping[str, str] | None = field(repr=False)


def list_opened_entries(delivery_id: str, released: Mapping[str, SectionDescriptor], *, keyring: bool) -> list[str]:
    """Return the names of the entries that a delivery opens, in order: the one place that decides who may open what.

    ``released``: section id to descriptor of what this delivery gets; ``keyring``: whether the first keyring goes with it. The hub cuts by this
    list and the recipient refuses a delivery that opens more or fewer entries. ``risk`` says what C05 says, so it goes where C05 goes in words,
    and never with a pointer. ``basis``, ``policy``, ``subject-routing``, ``grants`` and ``flag`` entries are for the hub alone.
    """
    names = ["case", f"delivery:{delivery_id}"]
    if any(d.compartment is Compartment.C05 and d.form is not Form.POINTER for d in released.values()):
        names.append("risk")
    names += [f"subject:{subject}" for subject in sorted({d.subject for d in released.values()} - {INCIDENT})]
    names += [f"section:{section_id}" for section_id in sorted(released)]
    return [*names, f"keyring:{delivery_id}"] if keyring else names


def redact_for(
    verified: VerifiedEnvelope, delivery_id: str, section_ids: Iterable[str], *, added: Collection[str] = ()
) -> DeliveryParts:
    """Cut out what one delivery may have: ``section_ids`` must be among the sections that the sender granted it.

    ``added`` are the sections of a verified keyring addendum: then they alone count, and the first keyring stays behind.

    Raises:
        UndeclaredEntry: there is no such delivery, or a section is not granted to it: the hub can only narrow.
    """
    request = next((d for d in verified.header.deliveries if d.delivery_id == delivery_id), None)
    chosen = sorted(set(section_ids))
    if request is None:
        raise UndeclaredEntry("there is no such delivery", field="delivery_id")
    if not set(added or request.granted_sections).issuperset(chosen):
        raise UndeclaredEntry("a section is not granted to this delivery", field="sections")
    keyring = verified.keyrings.get(delivery_id) if chosen and not added else None
    descriptors = {section_id: verified.descriptors[section_id] for section_id in chosen}
    names = list_opened_entries(delivery_id, descriptors, keyring=keyring is not None)
    return DeliveryParts(
        delivery_id=delivery_id,
        manifest_jws=verified.manifest_jws,
        openings=tuple(verified.openings[name] for name in names),
        sections={section_id: verified.sections[section_id] for section_id in chosen},
        keyring=keyring,
    )


def encode_delivery(
    parts: DeliveryParts, event: bytes, salt: bytes, proof: str, *, addendum: bytes | None = None
) -> bytes:
    """Return a delivery's body: the parts, the decision's event and salt, and the tlog-proof text of its leaf.

    ``addendum`` is the sender's signed keyring addendum, as received, where the delivery is a late release.
    """
    members: dict[str, Any] = {
        "decision": {"event": encode_base64url(event), "salt": encode_base64url(salt)},
        "keyring": parts.keyring,
        "manifest": parts.manifest_jws,
        "openings": parts.openings,
        "proof": proof,
        "sections": parts.sections,
    }
    if addendum is not None:
        members["addendum"] = addendum.decode("utf-8")
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
