"""Writes the JSON Schemas that vendors read: ``python -m tests.vectors.publish_schemas``. They are generated from the models, never edited."""

import json
from pathlib import Path

from pydantic import TypeAdapter

import schemas
from schemas.directory import Directory
from schemas.envelope import KeyringDescriptor, Manifest, SectionDescriptor
from schemas.header import (
    CaseFacts,
    DeliveryRequest,
    LawfulBasis,
    PolicyFacts,
    RiskFacts,
    RoutingHeader,
    SubjectFacts,
    SubjectRouting,
)
from schemas.objects.events import DecidedEvent
from schemas.objects.registry import OBJECT_FORMS

FOLDER = Path(schemas.__file__).parent / "published"
BASE = "https://safelane.example/schemas/1/"


def build_schemas() -> dict[str, str]:
    """Return file name to text for every published schema."""
    forms: dict[str, TypeAdapter[object]] = {
        "manifest": TypeAdapter(Manifest),
        "entry-case": TypeAdapter(CaseFacts),
        "entry-risk": TypeAdapter(RiskFacts),
        "entry-basis": TypeAdapter(LawfulBasis),
        "entry-policy": TypeAdapter(PolicyFacts),
        "entry-subject": TypeAdapter(SubjectFacts),
        "entry-subject-routing": TypeAdapter(SubjectRouting),
        "entry-delivery": TypeAdapter(DeliveryRequest),
        "entry-section": TypeAdapter(SectionDescriptor),
        "entry-keyring": TypeAdapter(KeyringDescriptor),
        "routing-header": TypeAdapter(RoutingHeader),
        "decided-event": TypeAdapter(DecidedEvent),
        "directory": TypeAdapter(Directory),
        **{object_type.replace("_", "-"): form for object_type, form in OBJECT_FORMS.items()},
    }
    return {f"{name}.schema.json": _write(name, form) for name, form in sorted(forms.items())}


def _write(name: str, form: TypeAdapter[object]) -> str:
    schema = form.json_schema(mode="validation")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{BASE}{name}.schema.json"}
    return json.dumps(head | schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in build_schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
