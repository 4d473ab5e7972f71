"""The errors of Safelane: one base, six families.

Code, HTTP status, whether a retry can help and what the public may read are class attributes, so that no handler needs a table.
No message ever holds content, a name, a date of birth or an address: say which field broke which rule, never the value.
"""

from typing import ClassVar


class SafelaneError(Exception):
    """Base of every error that Safelane raises on purpose.

    Attributes:
        code: stable machine-readable code (``kebab-case``), part of the contract.
        status: HTTP status with which an API answers.
        retryable: whether the same request may succeed later, unchanged.
        public_message: one sentence for people that says what to do.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    public_message: ClassVar[str] = "Something went wrong. Ask your system's operator."

    def __init__(self, detail: str = "", *, field: str | None = None) -> None:
        """Keep ``detail`` (a rule that was broken, never a value) and the ``field`` path it concerns."""
        self.detail = detail or self.public_message
        self.field = field
        super().__init__(f"{field}: {self.detail}" if field else self.detail)

    def diagnostics(self) -> dict[str, str | bool | int | None]:
        """Return what an operator or sender may see, ready for JSON."""
        return {
            "code": self.code,
            "detail": self.detail,
            "field": self.field,
            "retryable": self.retryable,
            "status": self.status,
        }


class RuleBroken(ValueError):
    """A rule between a model's members is broken. Its text is a constant of ours that quotes nothing, and is shown to whoever sent the input."""


class Rejected(SafelaneError):
    """The sender's fault: the input breaks a rule, and the sender can put it right."""

    code = "rejected"
    status = 422
    public_message = "The message breaks a rule. Correct it and send it again."


class Withheld(SafelaneError):
    """Policy stops it: the reason is a decision, not a fault."""

    code = "withheld"
    status = 403
    public_message = "Policy does not permit this. The reason is in the decision."


class Undeliverable(SafelaneError):
    """It cannot reach the recipient as things stand (no key, no queue, unknown recipient)."""

    code = "undeliverable"
    status = 502
    public_message = "The recipient cannot be reached. A person must look at it."


class DependencyUnavailable(SafelaneError):
    """A server that we need does not answer: try again later."""

    code = "dependency-unavailable"
    status = 503
    retryable = True
    public_message = "A service is not available. Try again in a minute."


class ConfigInvalid(SafelaneError):
    """The configuration is wrong: refuse to start."""

    code = "config-invalid"
    status = 500
    public_message = "The configuration, or what was given, is wrong. Correct it and start again."


class IntegrityBroken(SafelaneError):
    """Something that must never differ differs: stop releasing and raise the alarm."""

    code = "integrity-broken"
    status = 500
    public_message = "An integrity check failed. Stop, use the telephone, and call your security contact."


class SignatureInvalid(Rejected):
    """One public error for every signature failure, so that it tells an attacker nothing (DESIGN, The envelope)."""

    code = "signature-invalid"
    status = 401
    public_message = "The signature does not verify."


class MalformedMessage(Rejected):
    """The bytes are not in the form that the contract demands."""

    code = "malformed"
    status = 400
    public_message = "The message is not in the expected form."


class TooLarge(Rejected):
    """A size, count or depth limit is passed; checked before parsing."""

    code = "too-large"
    status = 413
    public_message = "The message is over a limit."


class NotAuthenticated(Rejected):
    """The caller did not prove who it is."""

    code = "not-authenticated"
    status = 401
    public_message = "Sign in again: the credentials were not accepted."


class NotPermitted(Withheld):
    """The caller is known and may not do this."""

    code = "not-permitted"
    public_message = "You are not permitted to do this."


class NotFound(Rejected):
    """There is no such thing, or the caller may not know of it (the two look the same)."""

    code = "not-found"
    status = 404
    public_message = "There is no such record."


class Erased(NotFound):
    """It was here and its time is over, or it was erased on request: the log's commitment to it remains."""

    code = "erased"
    status = 410
    public_message = "This was erased. The log still shows that it was here."


class Conflict(Rejected):
    """It contradicts what is already stored (same id, other bytes)."""

    code = "conflict"
    status = 409
    public_message = "This contradicts what was sent before under the same reference."
