"""One-time codes (TOTP, RFC 6238): six digits of 30 seconds, one use of each step, a step of tolerance either way."""

import io
from datetime import datetime
from typing import Final

import pyotp
import segno

STEP_SECONDS: Final = 30
TOLERANCE: Final = 1
ISSUER: Final = "Safelane"


def make_code_secret() -> str:
    """Return a new secret of 160 bits, base32."""
    return pyotp.random_base32(32)


def find_step(secret: str, code: str, now: datetime, *, after: int) -> int | None:
    """Return the time step for which ``code`` is right, none if it is for none near now later than ``after``: a step is used once."""
    digits = code.replace(" ", "")
    if len(digits) != 6 or not digits.isascii() or not digits.isdigit():
        return None
    totp = pyotp.TOTP(secret)
    current = int(now.timestamp()) // STEP_SECONDS
    found = None
    for step in range(current - TOLERANCE, current + TOLERANCE + 1):
        if pyotp.utils.strings_equal(totp.generate_otp(step), digits) and step > after:
            found = step
    return found


def draw_qr_code(secret: str, name: str) -> str:
    """Return the QR code that an authenticator app reads, as SVG without style attributes."""
    uri = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)
    picture = io.BytesIO()
    segno.make(uri, error="m").save(
        picture,
        kind="svg",
        scale=5,
        border=3,
        xmldecl=False,
        svgns=False,
        light="#ffffff",
        svgclass="app-qr",
        lineclass=None,
    )
    return picture.getvalue().decode()


def group_secret(secret: str) -> str:
    """Return the secret in groups of four, for typing."""
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
