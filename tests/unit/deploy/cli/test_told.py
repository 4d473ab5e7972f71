"""``safelane gateway told`` in words: every code that a hub tells has a sentence, the documented one."""

from pathlib import Path

from adapters.gateway.outgoing.registers import _TOLD_OUTCOMES
from broker.intake.batch import ERASED
from broker.intake.consequences import CLAIM_TICKET, CORRECTED
from broker.intake.expiring import CONSENT_EXPIRED
from broker.intake.objects import CONSENT_WITHDRAWN, RECALLED
from deploy.cli.told import TOLD, describe_told
from schemas.objects.correspondence import RequestStep

SAID = {
    ERASED,
    CLAIM_TICKET,
    CORRECTED,
    CONSENT_EXPIRED,
    CONSENT_WITHDRAWN,
    RECALLED,
    "DELETION_CONFIRMED",
    "REQUEST_OVERDUE",
}
CODES = SAID | {f"REQUEST_{step.value.upper()}" for step in RequestStep} | (_TOLD_OUTCOMES - {"told"})


def test_every_code_has_its_sentence_and_the_documents_have_the_same() -> None:
    assert set(TOLD) == CODES
    page = (Path(__file__).parents[4] / "docs" / "codes.md").read_text()
    for code, words in TOLD.items():
        assert f"| `{code}` | {words.format(delivery='DELIVERY')} |" in page


def test_what_was_told_is_a_line_to_the_minute_and_what_to_do() -> None:
    row = {"code": "RECALLED", "message_id": "m-1", "delivery_id": "d-1", "at": "2026-11-16T22:32:05.123456+00:00"}
    first, second = describe_told(row)
    assert first == "2026-11-16 22:32 UTC  RECALLED  d-1"
    assert second.endswith("safelane gateway confirm-deletion d-1")
    unknown = list(describe_told(row | {"code": "SOMETHING_NEW", "delivery_id": None}))
    assert "does not know" in unknown[1]
