"""Words that the gateway itself writes: C14's line on the family, C17's record of the decision, and summaries made of codes alone."""

from datetime import datetime

from pydantic import JsonValue

from adapters.mapping.content import ContentBuilder
from schemas.codes import Compartment, ConsentState, Kind, RiskGrade, TellValue
from schemas.header import LawfulBasis
from schemas.local_time import LONDON
from schemas.referral import Consent, Hold, StatedRisk, Statement, Tell

_TELL_WORDS = {
    TellValue.TELL: "The family will be told that this is shared.",
    TellValue.TOLD: "The family has been told that this is shared.",
    TellValue.DO_NOT_TELL: "Do not tell the family.",
}
_CONSENT_WORDS = {
    ConsentState.GIVEN: "Consent was given.",
    ConsentState.REFUSED: "Consent was refused.",
    ConsentState.NOT_SOUGHT: "Consent was not sought.",
    ConsentState.WITHDRAWN: "Consent was withdrawn.",
    ConsentState.EXPIRED: "Consent has expired.",
    ConsentState.INVALID: "Consent is not valid.",
    ConsentState.NOT_RECORDED: "Consent is not recorded.",
}
_GRADE_WORDS = {
    RiskGrade.NOT_ASSESSED: "Risk not assessed",
    RiskGrade.NO_APPARENT_RISK: "No apparent risk",
    RiskGrade.LOW: "Low risk",
    RiskGrade.STANDARD: "Standard risk",
    RiskGrade.MEDIUM: "Medium risk",
    RiskGrade.HIGH: "High risk",
}


def say_always(builder: ContentBuilder, tell: Tell) -> None:
    """Add to C14, which everybody gets, whether the family may be told (DOMAIN section 5: it travels with every message)."""
    value: dict[str, JsonValue] = {"Instruction": _TELL_WORDS[tell.facts.value]}
    if tell.facts.review_on is not None:
        value["Looked at again on"] = tell.facts.review_on.isoformat()
    builder.add(Compartment.C14, None, Statement(label="Telling the family", value=value))


def say_decision(
    builder: ContentBuilder, basis: LawfulBasis, words: str | None, *, consent: Consent, tell: Tell, hold: Hold | None
) -> None:
    """Add to C17 the ground, consent, telling and embargo with their reasons in words."""
    ground = {**basis.model_dump(mode="json", exclude_none=True), **({"claimed_as": words} if words else {})}
    builder.add(Compartment.C17, None, Statement(label="Lawful basis", value=ground))
    facts = consent.facts.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    facts["state"] = consent.facts.state.value
    facts.pop("scope", None)
    builder.add(Compartment.C17, None, Statement(label="Consent", value={**facts, **_words("reason", consent.reason)}))
    told = tell.facts.model_dump(mode="json", exclude_none=True)
    told.pop("parties", None)
    builder.add(
        Compartment.C17,
        None,
        Statement(
            label="Telling the family",
            value={**told, **_words("reason", tell.reason), **_words("reviewer", tell.reviewer)},
        ),
    )
    if hold is not None:
        held = hold.facts.model_dump(mode="json", exclude_none=True)
        builder.add(Compartment.C17, None, Statement(label="Embargo", value={**held, **_words("until", hold.until)}))


def word_decision_summary(basis: LawfulBasis, consent: Consent, tell: Tell, kind: str, task: str | None) -> str:
    """Return the minimal C17 that every recipient gets, of codes alone: it names nobody and hints at no other compartment."""
    ground = f"UK GDPR Article 6(1)({basis.art6.value})" + (f", {basis.provision}" if basis.provision else "")
    lines = [f"Shared under {ground}; {basis.art9}." if basis.art9 else f"Shared under {ground}."]
    if kind == Kind.REQUEST and task is not None:
        lines.append(f"Statutory task: {task}.")
    lines += [_CONSENT_WORDS[consent.facts.state], _TELL_WORDS[tell.facts.value]]
    return " ".join(lines)


def word_risk_summary(risk: StatedRisk) -> str:
    """Return a summary of C05 made of codes: grade, tool and version, and when (local time)."""
    tool = " ".join(part for part in (risk.tool, risk.tool_version) if part)
    words = _GRADE_WORDS[risk.grade] + (f" by {tool}" if tool else "")
    if risk.assessed_at is not None:
        words += f", assessed {_say_time(risk.assessed_at)}"
    if risk.next_review_due_at is not None:
        words += f"; review due {_say_time(risk.next_review_due_at)}"
    return words + ("; immediate danger." if risk.immediate_danger else ".")


def _say_time(moment: datetime) -> str:
    return f"{moment.astimezone(LONDON):%d %B %Y, %H:%M}"


def _words(label: str, text: str | None) -> dict[str, JsonValue]:
    return {label: text} if text is not None else {}
