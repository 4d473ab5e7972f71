"""The committed JSON Schemas are those of the models."""

import json

import jsonschema
import pytest

from schemas.canonical import decode_base64url
from schemas.envelope import seal
from tests.support.envelopes import build_sample
from tests.vectors.publish_schemas import FOLDER, build_schemas

ENTRIES = ["case", "policy", "subject", "subject-routing", "delivery", "section", "keyring"]


def test_committed_schemas_are_those_of_the_models() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert committed == build_schemas(), "run python -m tests.vectors.publish_schemas"


@pytest.mark.parametrize("name", sorted(build_schemas()))
def test_schema_is_valid(name: str) -> None:
    schema = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)


def test_a_sealed_message_fits_the_published_schemas() -> None:
    sample = build_sample()
    body = json.loads(seal(sample.draft, sample.signer, sample.encryption).body)
    validators = {
        name: jsonschema.Draft202012Validator(
            json.loads((FOLDER / f"entry-{name}.schema.json").read_text(encoding="utf-8"))
        )
        for name in ENTRIES
    }
    found = set()
    for opening in body["openings"]:
        _, name, value = json.loads(decode_base64url(opening))
        label = name.partition(":")[0]
        if label in validators:
            validators[label].validate(value)
            found.add(label)
    assert found == set(ENTRIES)
    manifest = json.loads(decode_base64url(body["manifest"]["payload"]))
    schema = json.loads((FOLDER / "manifest.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(manifest)
