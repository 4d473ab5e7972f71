"""One-time codes: one use of each step, a step of tolerance, nothing else."""

from datetime import UTC, datetime, timedelta

import pyotp

from broker.console.signin import codes

NOW = datetime(2026, 11, 21, 12, 0, 10, tzinfo=UTC)
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STEP = int(NOW.timestamp()) // 30


def code_at(moment: datetime) -> str:
    return pyotp.TOTP(SECRET).at(moment)


def test_a_code_is_good_for_its_step_and_one_either_way() -> None:
    for shift, expected in ((0, STEP), (-30, STEP - 1), (30, STEP + 1), (-90, None), (90, None)):
        code = code_at(NOW + timedelta(seconds=shift))
        assert codes.find_step(SECRET, code, NOW, after=0) == expected


def test_a_step_that_was_used_is_not_used_again() -> None:
    assert codes.find_step(SECRET, code_at(NOW), NOW, after=STEP) is None
    assert codes.find_step(SECRET, code_at(NOW - timedelta(seconds=30)), NOW, after=STEP - 1) is None
    assert codes.find_step(SECRET, code_at(NOW), NOW, after=STEP - 1) == STEP


def test_what_is_no_code_is_none() -> None:
    for text in ("", "12345", "1234567", "abcdef", "１２３４５６", code_at(NOW) + "0"):
        assert codes.find_step(SECRET, text, NOW, after=0) is None
    assert codes.find_step(SECRET, f" {code_at(NOW)[:3]} {code_at(NOW)[3:]} ", NOW, after=0) == STEP


def test_the_picture_has_no_inline_style_and_secrets_are_long() -> None:
    picture = codes.draw_qr_code(SECRET, "ann.hale")
    assert picture.startswith("<svg")
    assert "style" not in picture
    assert len(codes.make_code_secret()) == 32
    assert codes.group_secret("ABCDEFGH") == "ABCD EFGH"
