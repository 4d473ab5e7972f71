"""Reads signed objects as their models."""

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.envelope.addendum import KeyringAddendum
from schemas.errors import MalformedMessage
from schemas.keys import VerifyingKeys
from schemas.objects.approval import Approval
from schemas.objects.consent import Consent
from schemas.objects.control import ControlAdapter
from schemas.objects.correspondence import Recall, Request
from schemas.objects.receipt import NegativeReceipt, Receipt
from schemas.objects.signed import verify_object
from schemas.validation import name_first_fault

OBJECT_FORMS: Final[dict[str, TypeAdapter[Any]]] = {
    "receipt": TypeAdapter(Receipt),
    "negative_receipt": TypeAdapter(NegativeReceipt),
    "keyring_addendum": TypeAdapter(KeyringAddendum),
    "consent": TypeAdapter(Consent),
    "approval": TypeAdapter(Approval),
    "recall": TypeAdapter(Recall),
    "request": TypeAdapter(Request),
    "control": ControlAdapter,
}
"""The form of each type's payload. Referrals and directories have modules of their own."""


def read_object(object_type: str, body: bytes, keys: Sequence[VerifyingKeys]) -> BaseModel:
    """Verify a signed object by one of ``keys`` and return its payload as the type's model. The caller checks that the keys are its speaker's.

    Raises:
        SignatureInvalid: the signatures do not verify.
        MalformedMessage: the payload is not of the type's form.
        TooLarge: it is over a limit.
    """
    payload = verify_object(object_type, body, keys)
    form = OBJECT_FORMS.get(object_type)
    if form is None:
        raise MalformedMessage("has a reader of its own", field="type")
    try:
        found = form.validate_python(payload)
    except ValidationError as error:
        where = name_first_fault(error)
        raise MalformedMessage("is not of its form", field=f"{object_type}.{where}" if where else object_type) from None
    if not isinstance(found, BaseModel):
        raise MalformedMessage("is not of its form", field=object_type)
    return found
