"""What can be wrong with an envelope or a delivery, each with its own name. Signature failures are all ``SignatureInvalid``."""

from schemas.errors import IntegrityBroken, Rejected


class NotFresh(Rejected):
    """It has expired, or was issued in the future."""

    code = "not-fresh"
    public_message = "The message has expired or its time is wrong. Check the clock and seal it again."


class UndeclaredEntry(Rejected):
    """Something is carried that the signed manifest does not declare, or declared twice."""

    code = "undeclared-entry"
    public_message = "The message carries something that its sender did not declare."


class DigestMismatch(Rejected):
    """A section or keyring is not the one whose digest was signed."""

    code = "digest-mismatch"
    public_message = "A part of the message is not the one that was signed."


class LabelMismatch(Rejected):
    """A section's labels (descriptor, protected header, plaintext) disagree."""

    code = "label-mismatch"
    public_message = "A part of the message carries the wrong label."


class ForeignKeyring(Rejected):
    """A keyring belongs to another message, sender, delivery or recipient key."""

    code = "foreign-keyring"
    public_message = "A keyring does not belong to this delivery."


class DeliveryTampered(IntegrityBroken):
    """A delivery differs from what the sender signed or from what the log says was released: stop, and use the telephone."""

    code = "delivery-tampered"


class ProofInvalid(IntegrityBroken):
    """A delivery's or receipt's proof does not show that the log holds it."""

    code = "proof-invalid"
