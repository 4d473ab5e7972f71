"""Passkeys (WebAuthn level 3): discoverable, verified by the person's device every time, bound to this console's own address."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, parse_authentication_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from schemas.errors import NotAuthenticated

NAME: Final = "Safelane"
MAX_CREDENTIAL: Final = 16 * 1024


class PasskeyRefused(NotAuthenticated):
    """What the device sent does not prove that it holds the passkey and checked its owner. One public error for every reason."""

    code = "passkey-refused"
    public_message = "The passkey was not accepted. Start again."


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What is kept of a new passkey."""

    credential_id: bytes
    public_key: bytes
    sign_count: int


class Passkeys:
    """Makes options for browsers and verifies what they send back."""

    def __init__(self, public_url: str) -> None:
        """Bind everything to the console's own address."""
        self._origin = public_url
        self._rp_id = urlsplit(public_url).hostname or ""

    def ask(self, challenge: bytes, allowed: list[bytes] | None = None) -> str:
        """Return the options (JSON) for signing in; ``allowed`` limits them to these passkeys."""
        return options_to_json(
            generate_authentication_options(
                rp_id=self._rp_id,
                challenge=challenge,
                allow_credentials=[PublicKeyCredentialDescriptor(id=known) for known in allowed or ()],
                user_verification=UserVerificationRequirement.REQUIRED,
            )
        )

    def offer(self, challenge: bytes, user_id: UUID, name: str, known: list[bytes]) -> str:
        """Return the options (JSON) for a new passkey of an account; the device that has a ``known`` one makes no other."""
        return options_to_json(
            generate_registration_options(
                rp_id=self._rp_id,
                rp_name=NAME,
                user_id=user_id.bytes,
                user_name=name,
                challenge=challenge,
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
                ),
                exclude_credentials=[PublicKeyCredentialDescriptor(id=credential) for credential in known],
            )
        )

    def take_new(self, text: str, challenge: bytes) -> NewPasskey:
        """Return the passkey that a device made.

        Raises:
            PasskeyRefused: it is not an answer to our question, on our page, by its owner.
        """
        try:
            found = verify_registration_response(
                credential=text[:MAX_CREDENTIAL],
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise PasskeyRefused(f"the new passkey: {type(error).__name__}", field="credential") from error
        return NewPasskey(found.credential_id, found.credential_public_key, found.sign_count)

    @staticmethod
    def read_id(text: str) -> tuple[bytes, bytes | None]:
        """Return which passkey a device says that it used, and whose it says that it is. Nothing is proven by it yet.

        Raises:
            PasskeyRefused: it is not in the form of WebAuthn.
        """
        try:
            credential = parse_authentication_credential_json(text[:MAX_CREDENTIAL])
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise PasskeyRefused(f"the passkey: {type(error).__name__}", field="credential") from error
        return credential.raw_id, credential.response.user_handle

    def verify(self, text: str, challenge: bytes, kept: dict[str, Any]) -> int:
        """Return the new count of signatures of a passkey that is ``kept``.

        Raises:
            PasskeyRefused: the signature, the challenge, the address, the owner's check or the count is wrong.
        """
        try:
            found = verify_authentication_response(
                credential=text[:MAX_CREDENTIAL],
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                credential_public_key=kept["public_key"],
                credential_current_sign_count=kept["sign_count"],
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            raise PasskeyRefused(f"the passkey: {type(error).__name__}", field="credential") from error
        return found.new_sign_count


def read_challenge(kept: str) -> bytes:
    """Return a challenge that was kept in a visit."""
    return base64url_to_bytes(kept)
