"""Builds small sealed messages and takes them apart again, so that each vector has exactly one defect."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.canonical import canonical_bytes, decode_base64url, encode_base64url, sha256_base64url
from schemas.codes import Compartment, Form
from schemas.envelope import INCIDENT, EnvelopeDraft, SectionDraft, seal
from schemas.envelope.model import REFERRAL_TYP
from schemas.keys import ED25519, ML_DSA_65, SigningKeys
from tests.support.envelopes import Sample, SeededBytes, build_sample

Body = dict[str, Any]


@dataclass(frozen=True)
class Vector:
    """One case: what is given, what is done with it, and what must come of it (``ok`` or an error code)."""

    name: str
    says: str
    operation: str
    body: str
    expect: str
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(self.__dict__, ensure_ascii=False, indent=1) + "\n"


def small_sample(**facts: Any) -> Sample:
    """Return a draft with two deliveries and three sections, one of them held."""
    sample = build_sample(**facts)
    sections = [
        SectionDraft(
            "section-00000000000001", Compartment.C01, "subject-0000000000aaaa", Form.FULL, {"text": "invented one"}
        ),
        SectionDraft("section-00000000000002", Compartment.C05, INCIDENT, Form.SUMMARY, {"text": "invented two"}),
        SectionDraft(
            "section-00000000000003", Compartment.C12, "subject-0000000000aaaa", Form.FULL, {"text": "invented three"}
        ),
    ]
    header = sample.draft.header.model_copy(update={"deliveries": sample.draft.header.deliveries[:2]})
    grants = {
        "delivery-00000000csc01": ["section-00000000000001", "section-00000000000002"],
        "delivery-00000000dsl01": ["section-00000000000001"],
    }
    return Sample(EnvelopeDraft(sample.draft.facts, header, sections, grants), sample.signer, sample.encryption)


def sealed_body(sample: Sample, seed: str = "vector") -> Body:
    """Seal and return the envelope as a JSON object."""
    sealed = seal(sample.draft, sample.signer, sample.encryption, rng=SeededBytes(seed))
    body: Body = json.loads(sealed.body)
    return body


def payload_of(body: Body) -> dict[str, Any]:
    """Return the manifest's payload."""
    payload: dict[str, Any] = json.loads(decode_base64url(body["manifest"]["payload"]))
    return payload


def sign_by_hand(
    payload: bytes,
    signer: SigningKeys,
    *,
    typ: str = REFERRAL_TYP,
    first: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
    write: Callable[[Any], bytes] = canonical_bytes,
) -> dict[str, Any]:
    """Sign with protected headers of any form: ``first`` and ``second`` are merged into the two headers (a value of None removes a member)."""
    public = signer.public
    encoded = encode_base64url(payload)
    signatures = []
    plan = (
        (ED25519, public.ed25519_kid, signer.ed25519, first),
        (ML_DSA_65, public.ml_dsa_65_kid, signer.ml_dsa_65, second),
    )
    for alg, kid, key, extra in plan:
        header = {"alg": alg, "kid": kid, "typ": typ, **(extra or {})}
        protected = encode_base64url(write({name: value for name, value in header.items() if value is not None}))
        signature = encode_base64url(key.sign(f"{protected}.{encoded}".encode()))
        signatures.append({"protected": protected, "signature": signature})
    return {"payload": encoded, "signatures": signatures}


def resign(body: Body, signer: SigningKeys, payload: bytes | None = None, **options: Any) -> Body:
    """Return the envelope with its manifest (or ``payload``) signed by hand."""
    raw = payload if payload is not None else decode_base64url(body["manifest"]["payload"])
    return {**body, "manifest": sign_by_hand(raw, signer, **options)}


def replace_opening(body: Body, signer: SigningKeys, name: str, change: Callable[[Any], Any]) -> Body:
    """Change the value of the entry called ``name``, redo its digest and sign the manifest again."""
    openings, payload = list(body["openings"]), payload_of(body)
    for place, opening in enumerate(openings):
        salt, found, value = json.loads(decode_base64url(opening))
        if found == name:
            openings[place] = encode_base64url(canonical_bytes([salt, name, change(value)]))
            digests = set(payload["digests"]) - {sha256_base64url(opening.encode())}
            payload["digests"] = sorted(digests | {sha256_base64url(openings[place].encode())})
            return resign({**body, "openings": openings}, signer, canonical_bytes(payload))
    raise AssertionError("the sample has no such entry")


def find_opening(body: Body, name: str) -> str:
    """Return the opening of the entry called ``name``."""
    return next(o for o in body["openings"] if json.loads(decode_base64url(o))[1] == name)


def to_text(body: Any) -> str:
    """Return canonical JSON text."""
    return canonical_bytes(body).decode()


def flip_last(text: str) -> str:
    """Change one character in the middle of base64url text."""
    place = len(text) // 2
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
