"""Why a message is not taken in, as errors with codes of their own."""

from schemas.errors import Conflict, DependencyUnavailable, Rejected, SafelaneError, SignatureInvalid, Undeliverable


class SenderUnknown(SignatureInvalid):
    """RabbitMQ did not say who published it, or the directory has no keys of theirs. To the outside: the signature does not verify."""


class ContradictsEarlier(Conflict):
    """The same message id came with other bytes: somebody replays or forges."""

    code = "message-id-reused"
    public_message = "Another message was sent before under this message id. Call your security contact."


class KeyNotCurrent(Rejected):
    """A keyring is sealed to a key that its recipient does not have (any more): plan again and seal again."""

    code = "encryption-key-not-current"
    status = 409
    retryable = True
    public_message = "A recipient's key has changed. Fetch the directory, plan and seal again."


class NotUnderstood(SafelaneError):
    """We failed on it for a reason of our own; it waits for a person, alone."""

    code = "not-understood"
    public_message = "The message could not be handled. The hub's operator has been told."


class DeadLettered(NotUnderstood):
    """RabbitMQ handed it out too often, or a recipient's gateway gave it up."""

    code = "dead-lettered"


class Stuck(DependencyUnavailable):
    """A message can be neither taken in nor quarantined. RabbitMQ hands it out a limited number of times, then quarantines it itself."""

    code = "intake-stuck"


class TypeUnknown(Rejected):
    """The type of object is not in the registry."""

    code = "type-unknown"
    public_message = "The type of the message is not known. Check the software's version."


class NothingSealed(Undeliverable):
    """The decision permits something and the sender sealed nothing of it to this recipient."""

    code = "nothing-sealed"


class NotReachable(Undeliverable):
    """The recipient is not enrolled: it has no queue."""

    code = "recipient-not-reachable"


SECURITY_CODES = frozenset({ContradictsEarlier.code, SignatureInvalid.code})
"""Refusals that an operator must see as a possible attack."""
