"""Why information was shared or withheld, what came again, and what followed: questions 8, 9, 12 to 15."""

from collections.abc import Mapping
from typing import Any, Final

from broker.reports.cell_store import Reading
from broker.reports.plots import Plot, PlotForm
from broker.reports.questions.children import REPEATS
from broker.reports.questions.journey import make_clock_table
from broker.reports.report import Answer, Filter, LookContext, Made, Report, ReportData
from broker.reports.shapes import make_list, make_parts, make_times
from broker.reports.words import BASES, COMPARTMENTS, ROWS, STAGES, say, say_kind_order

_CONSENT: Final = (
    ("given", "Given"),
    ("refused", "Refused"),
    ("not_sought", "Not sought"),
    ("withdrawn", "Withdrawn"),
    ("expired", "Expired"),
    ("invalid", "Invalid"),
    ("not_recorded", "Not recorded"),
)
_TELL: Final = (("tell", "To be told"), ("told", "Told"), ("do_not_tell", "Not to be told"))
_RESULTS: Final = (("sent", "Sent"), ("held", "Held"), ("withheld", "Withheld"), ("rejected", "Rejected"))
_HOLDS: Final = (("released", "Released"), ("refused", "Refused"), ("open", "Waiting"))
_READY: Final = (("in_time", "Opened in time"), ("late", "Opened late"), ("not_opened", "Not opened"))
_CORRECTED: Final = (
    ("by_correction", "Got the correction"),
    ("by_notice", "Told that there is one"),
    ("not_told", "Not told"),
)
_RSO: Final = (
    ("shared", "Child linked, sent to social care"),
    ("not_shared", "Child linked, not sent"),
    ("no_child", "No child linked"),
)
_AFTER: Final = (
    ("within_3", "Within 3 months"),
    ("within_6", "3 to 6 months"),
    ("within_12", "6 to 12 months"),
    ("later", "Later"),
)
_EMBARGO_AGES: Final = (
    ("day", "Up to a day"),
    ("week", "Up to a week"),
    ("month", "Up to a month"),
    ("longer", "Longer"),
)


def _build_basis(data: ReportData) -> Made:
    reasons = {
        f"{say(code)}: {say(within)}": n
        for (code, within), n in data.group("consent", "code", "within").items()
        if code in {"not_sought", "refused"}
    }
    untold = {
        say(within): n for (code, within), n in data.group("tell", "code", "within").items() if code == "do_not_tell"
    }
    return Made(
        tables=(
            make_list("basis", "Lawful basis that the sender claims (UK GDPR Article 6)", "Basis", data.group("basis", "code"), whole="Messages", words=lambda code: BASES.get(code, code)),
            make_parts("consent", "Consent, by kind", "Kind", data.group("consent", "kind", "code"), _CONSENT, whole="Messages", share="not_sought", order=say_kind_order),
            make_list("reasons", "Why consent was not sought, or was refused", "Reason", reasons, whole="Messages", words=str),
            make_parts("tell", "Is the family told? By kind", "Kind", data.group("tell", "kind", "code"), _TELL, whole="Messages", share="do_not_tell", order=say_kind_order),
            make_list("untold", "Why the family is not told", "Reason", untold, whole="Messages", words=str),
            make_list("detriment", "Not shared because sharing would be more detrimental to the child (section 16LA), by recipient", "Recipient", data.group("detriment", "agency"), whole="Deliveries", words=data.name),
        ),
        plots=(
            Plot(PlotForm.BARS, "basis", "Lawful basis", ("n",), "Messages"),
            Plot(PlotForm.STACKED, "consent", "Consent", tuple(code for code, _ in _CONSENT[:5]), "Of messages of this kind"),
            Plot(PlotForm.STACKED, "tell", "Is the family told?", ("tell", "told", "do_not_tell"), "Of messages of this kind"),
        ),
    )  # fmt: skip


BASIS = Report(
    id="basis",
    number=8,
    title="Lawful basis, consent and telling the family",
    question="On which basis is information shared, how often without consent or without telling the family and why, and when was it not shared for the child's sake?",
    answer=Answer.FULL,
    build=_build_basis,
    filters=(Filter.AREA, Filter.SENDER, Filter.KIND),
    reads=(
        Reading("basis", ("code",)),
        Reading("consent", ("kind", "code", "within")),
        Reading("tell", ("kind", "code", "within")),
        Reading("detriment", ("agency",), own=("area", "kind")),
    ),
    definitions=(
        (
            "Not sought",
            "sharing does not need consent where there is a legal duty; asking where one would share anyway is no choice",
        ),
        ("Reason given", "the reason is in words, which are sealed (compartment C17); here only that there is one"),
        (
            "Not shared for the child's sake",
            "a named person decided that sharing with this recipient would be more detrimental to the child than not sharing",
        ),
    ),
    cannot_say=(
        (
            "The words of the reasons, and whether they are good ones",
            "the sender; an auditor of the sealed record (report 20)",
        ),
    ),
)


def _build_withheld(data: ReportData) -> Made:
    by_result: dict[tuple[str, str], int] = {}
    by_rule: dict[tuple[str, str], int] = {}
    for (code, within), n in data.group("compartment", "code", "within").items():
        result, _, row = within.partition(":")
        by_result[code, result] = by_result.get((code, result), 0) + n
        if row:
            by_rule[row, result] = by_rule.get((row, result), 0) + n
    rules = list(ROWS)
    return Made(
        tables=(
            make_parts("compartments", "What was decided of each compartment, at first", "Compartment", by_result, _RESULTS, whole="Decisions", share="withheld", words=lambda c: f"{c} {COMPARTMENTS.get(c, '')}".strip(), order=lambda c: c),
            make_parts("rules", "Held, withheld or rejected, by rule", "Rule", by_rule, _RESULTS[1:], whole="Decisions", order=lambda row: rules.index(row) if row in rules else len(rules)),
            make_parts("holds", "Deliveries of which something waited for a person, by rule", "Rule", data.group("hold", "within", "code"), _HOLDS, whole="Held", share="released", order=lambda row: rules.index(row) if row in rules else len(rules)),
            make_times("waits", "How long people took", "", data, ["hold_to_end", "glass_to_end"], lambda code: {"code": code}, whole="Ended", words=lambda code: {"hold_to_end": "Until a hold was decided", "glass_to_end": "Until broken glass was reviewed"}[code]),
            make_parts("glass", "Break-glass: reviewed afterwards? By recipient", "Recipient", data.group("glass", "agency", "code"), (("reviewed", "Reviewed"), ("open", "Not yet")), whole="Used", share="reviewed", words=data.name),
            make_list("alerts", "Alerts of decisions", "Alert", data.group("alert", "code"), whole="Deliveries"),
        ),
        plots=(
            Plot(PlotForm.STACKED, "compartments", "What was decided of each compartment", tuple(code for code, _ in _RESULTS), "Of decisions on it"),
            Plot(PlotForm.BARS, "rules", "Held, withheld or rejected, by rule", ("all",), "Decisions"),
        ),
    )  # fmt: skip


WITHHELD = Report(
    id="withheld",
    number=9,
    title="Withheld and held information",
    question="What was withheld under which rule, what did people release, and is break-glass reviewed in time?",
    answer=Answer.FULL,
    build=_build_withheld,
    reads=(
        Reading("compartment", ("code", "within"), own=("area", "kind")),
        Reading("hold", ("within", "code"), own=("area", "kind")),
        Reading("glass", ("agency", "code"), own=("area", "kind")),
        Reading("stage", ("code", "bucket"), codes=("hold_to_end", "glass_to_end"), own=("area", "kind")),
        Reading("alert", ("code",), own=("area", "kind")),
    ),
    definitions=(
        ("Decision", "one compartment of one delivery, as first decided; a later release shows among the holds"),
        ("Held", "a named person must decide, by a deadline"),
        (
            "Break-glass",
            "immediate danger was claimed by a named person with a reason; it lifts some rules and starts a review",
        ),
    ),
)


def _build_repeats(data: ReportData) -> Made:
    return Made(
        tables=(
            make_parts("repeats", "New referrals by how long ago the same child was last referred", "Kind", data.group("repeat", "kind", "code"), REPEATS, whole="New referrals", order=say_kind_order),
            make_parts("after", "Serious referrals after no further action", "Kind", data.group("after_no_action", "kind", "code"), _AFTER, whole="Referrals", order=say_kind_order),
        ),
        plots=(
            Plot(PlotForm.STACKED, "repeats", "How long ago the same child was last referred", tuple(code for code, _ in REPEATS[:5]), "Of new referrals"),
            Plot(PlotForm.BARS, "after", "Serious referrals after no further action", ("all",), "Referrals"),
        ),
    )  # fmt: skip


REPEAT = Report(
    id="repeats",
    number=12,
    title="Repeat referrals",
    question="Which children are referred again within 3, 6 or 12 months, and which come to serious harm after no further action?",
    answer=Answer.PART,
    build=_build_repeats,
    filters=(Filter.AREA, Filter.SENDER, Filter.KIND),
    reads=(Reading("repeat", ("kind", "code")), Reading("after_no_action", ("kind", "code"))),
    definitions=(
        ("The same child", "the same pseudonym, which gateways make from identifiers with a secret that the hub lacks; a child without identifiers cannot be linked"),
        ("No further action", "an earlier referral about the same child was refused as below the threshold (threshold_not_met)"),
        ("Serious", "section 47 or police protection: the nearest that the hub can see to harm"),
    ),
    cannot_say=(
        ("Whether the child was harmed, and no further action that was not told by a receipt", "the local authority from its case system"),
        ("The same child under other identifiers, or in another partnership", "the local authority"),
    ),
)  # fmt: skip


def _build_strategy(data: ReportData) -> Made:
    return Made(
        tables=(
            make_clock_table(data, "clocks", "Strategy discussions: acted on or answered in time"),
            make_parts("ready", "Had each role opened its information by the time the discussion was due?", "Role", data.group("strategy_ready", "code", "within"), _READY, whole="Deliveries", share="in_time"),
        ),
        plots=(Plot(PlotForm.STACKED, "ready", "Was the information opened in time?", tuple(code for code, _ in _READY), "Of section 47 deliveries"),),
    )  # fmt: skip


STRATEGY = Report(
    id="strategy",
    number=13,
    title="Strategy discussions",
    question="Who attended strategy discussions and conferences, and was the information there in time?",
    answer=Answer.PART,
    build=_build_strategy,
    filters=(Filter.AREA,),
    reads=(
        Reading("clock", ("code", "within"), codes=("strategy_discussion",)),
        Reading("strategy_ready", ("code", "within"), own=("area",)),
    ),
    definitions=(
        ("In time", "opened by a person at the recipient before the strategy discussion was due"),
        ("Due", "by local policy after a section 47 referral, usually 24 hours"),
    ),
    cannot_say=(
        ("Who attended, and what was decided", "the local authority's minutes"),
        ("Conferences and core groups", "the local authority: no message of the contract tells the hub of them"),
    ),
)


async def _look_embargoes(context: LookContext) -> Mapping[str, Any]:
    rows = await context.connection.fetch(
        "SELECT kind, CASE WHEN embargo_set_at > $1::timestamptz - interval '1 day' THEN 'day' WHEN embargo_set_at > $1::timestamptz - interval '7 days' THEN 'week'"
        " WHEN embargo_set_at > $1::timestamptz - interval '31 days' THEN 'month' ELSE 'longer' END AS age, count(*) AS n FROM report_referrals"
        " WHERE embargo_set_at IS NOT NULL AND embargo_lifted_at IS NULL AND counted AND ($2::text IS NULL OR area = $2) GROUP BY 1, 2",
        context.now,
        context.filters.area,
    )
    return {"ages": {(row["kind"], row["age"]): row["n"] for row in rows}}


def _build_online(data: ReportData) -> Made:
    return Made(
        tables=(
            make_times("times", "Online sexual abuse: how long until it is shared", "Step", data, [c for c in STAGES if data.total("stage", code=c)], lambda code: {"code": code}, whole="Measured"),
            make_parts("ages", "Embargoes that stand now, by age", "Kind", data.found["ages"], _EMBARGO_AGES, whole="Embargoes", order=say_kind_order, note="The period does not apply to this table."),
            make_times("lifted", "How long lifted embargoes stood", "", data, ["embargo_to_lift"], lambda code: {"code": code}, whole="Lifted", words=lambda _: "From setting to lifting"),
            make_clock_table(data, "reviews", "Reviews of embargoes"),
            make_parts("offenders", "Registered offenders: linked to a child and shared? By area", "Area", data.group("rso_child", "area", "code"), _RSO, whole="Referrals", share="shared", words=data.name),
        ),
        plots=(
            Plot(PlotForm.MULTIPLES, "times", "Online sexual abuse: how long until it is shared", ("median", "p90"), "Time"),
            Plot(PlotForm.STACKED, "ages", "Embargoes that stand now, by age", tuple(code for code, _ in _EMBARGO_AGES), "Of embargoes"),
            Plot(PlotForm.STACKED, "offenders", "Registered offenders linked to a child", tuple(code for code, _ in _RSO), "Of referrals"),
        ),
    )  # fmt: skip


ONLINE = Report(
    id="online",
    number=14,
    title="Online abuse, embargoes and registered offenders",
    question="How soon is online sexual abuse shared, how old are embargoes, and was an offender's link to a child shared with social care?",
    answer=Answer.FULL,
    build=_build_online,
    filters=(Filter.AREA,),
    reads=(
        Reading("stage", ("code", "bucket"), codes=tuple(STAGES), own=("area",), kinds=("ONLINE_CSA",)),
        Reading("stage", ("code", "bucket"), codes=("embargo_to_lift",), own=("area",)),
        Reading("clock", ("code", "within"), codes=("embargo_review",), own=("area",)),
        Reading("rso_child", ("area", "code"), own=("area",)),
    ),
    look=_look_embargoes,
    definitions=(
        ("Embargo", "named recipients only, until its owner lifts it; it never lapses by itself"),
        (
            "Linked to a child",
            "a child is among the subjects of the registered offender's referral; shared: it went to social care as first decided",
        ),
    ),
    cannot_say=(("Warrants, arrests and what was seized", "the police"),),
)


def _build_corrections(data: ReportData) -> Made:
    return Made(
        tables=(
            make_parts("recipients", "Recipients of what was later corrected", "Recipient", data.group("correction", "agency", "code"), _CORRECTED, whole="Deliveries", share="not_told", words=data.name),
        ),
        plots=(Plot(PlotForm.STACKED, "recipients", "Who got word of a correction", tuple(code for code, _ in _CORRECTED), "Of corrected deliveries"),),
    )  # fmt: skip


CORRECTIONS = Report(
    id="corrections",
    number=15,
    title="Corrections",
    question="Was every recipient of what was later corrected told?",
    answer=Answer.FULL,
    build=_build_corrections,
    filters=(Filter.AREA, Filter.RECIPIENT),
    reads=(Reading("correction", ("agency", "code")),),
    definitions=(
        ("Got the correction", "the correction itself was delivered to the same agency"),
        ("Told that there is one", "the correction is not for that agency, and the hub told it to ask the sender"),
        ("Not told", "neither: this must be none"),
    ),
    cannot_say=(("Whether the recipient corrected its own record", "the recipient"),),
)
