"""Encompass, missing children, risk, ethnicity, voice: questions 3 to 7."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from broker.reports.cell_store import Reading
from broker.reports.periods import Period, ReportAskedWrongly
from broker.reports.plots import Plot, PlotForm
from broker.reports.questions.journey import make_clock_table
from broker.reports.report import Answer, Filter, LookContext, Made, OwnFilter, Report, ReportData
from broker.reports.shapes import make_flags, make_list, make_parts, make_times
from broker.reports.tables import Column, Sort, Table, Value
from broker.reports.words import FLAGS, say_kind_order
from schemas.local_time import LONDON

_ROUTES: Final = (
    ("school", "The child's school"),
    ("no_school", "Local authority: at no school"),
    ("unmatched", "Local authority: school not matched"),
    ("nobody", "Nobody found"),
)
_MISSING_FLAGS: Final = (
    "risk_rationale_missing",
    "risk_downgraded",
    "missing_low_risk_under_18",
    "risk_assessment_stale",
)
_RISK: Final = (
    ("current", "Current"),
    ("no_review_date", "No review date"),
    ("stale", "Review overdue when sent"),
    ("absent", "No assessment"),
)
_ETHNICITY_FLAGS: Final = tuple(flag for flag in FLAGS if flag.startswith("ethnicity_"))
_VOICE: Final = (("heard", "Child's voice is there"), ("not_heard", "Not there"))
_INTERPRETER_FLAGS: Final = ("interpreter_needed_not_used", "interpreter_was_relative")
REPEATS: Final = (
    ("first", "No earlier referral"),
    ("within_3", "Within 3 months"),
    ("within_6", "3 to 6 months"),
    ("within_12", "6 to 12 months"),
    ("later", "More than 12 months"),
    ("no_token", "Cannot be linked"),
)
_MOST_DAYS: Final = 92
_MISSING: Final = ("MISSING",)


def _build_encompass(data: ReportData) -> Made:
    return Made(
        tables=(
            make_parts(
                "routes",
                "Where Encompass notices went, by area",
                "Area",
                data.group("encompass", "area", "code"),
                _ROUTES,
                whole="Notices",
                share="unmatched",
                words=data.name,
            ),
            make_clock_table(data, "areas", "Opened before the child's next school day, by area", by="area"),
            make_clock_table(data, "agencies", "Opened before the child's next school day, by school or authority", by="agency"),
        ),
        plots=(
            Plot(PlotForm.STACKED, "routes", "Where notices went", tuple(code for code, _ in _ROUTES), "Of notices"),
            Plot(PlotForm.STACKED, "areas", "Before the next school day?", ("met", "met_late", "breached", "running"), "Of notices"),
        ),
    )  # fmt: skip


ENCOMPASS = Report(
    id="encompass",
    number=3,
    title="Operation Encompass",
    question="Do schools know before the child's next school day, and what of children whose school is unknown or who are taught at home?",
    answer=Answer.FULL,
    build=_build_encompass,
    filters=(Filter.AREA,),
    reads=(
        Reading("encompass", ("area", "code")),
        Reading("clock", ("area", "agency", "within"), codes=("encompass_delivery",)),
    ),
    definitions=(
        ("Met in time", "opened by the school's designated lead (or the authority) before the next day on which that school's own calendar has school"),
        ("School not matched", "the police gave a school that the directory does not know; the notice went to the authority, flagged"),
        ("At no school", "taught at home or on no roll: the notice went to the authority"),
    ),
    cannot_say=(("What the school did for the child that day", "the school's designated safeguarding lead"),),
)  # fmt: skip


async def _look_missing(context: LookContext) -> Mapping[str, Any]:
    filters = context.filters
    at = read_instant(filters.find("at"), context.now)
    row = await context.connection.fetchrow(
        # Who is overdue at an instant and met later was met late: that is what the index holds.
        "SELECT count(*) AS n FROM report_clocks WHERE clock = 'risk_review' AND counted AND due_at < $1"
        " AND (met_at IS NULL OR met_at > due_at) AND (met_at IS NULL OR met_at >= $1) AND ($2::text IS NULL OR area = $2)",
        at,
        filters.area,
    )
    return {"at": at, "overdue": row["n"] if row is not None else 0}


def read_instant(text: str, default: datetime) -> datetime:
    """Return an instant: ``2026-11-24T09:30`` in local time.

    Raises:
        ReportAskedWrongly: it is none.
    """
    if not text:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ReportAskedWrongly("must be a date and time such as 2026-11-24T09:30", field="at") from None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=LONDON)).astimezone(UTC)


def make_stock(data: ReportData, clock: str) -> Table:
    """Return how many of a clock were overdue at the end of each day, or of each month of a long period."""
    ends = data.filters.period
    changes = {s.time: 0 for s in data.sums if s.measure == "clock_stock" and s.time is not None}
    for s in data.sums:
        if s.measure == "clock_stock" and s.time is not None and s.code == clock:
            changes[s.time] += s.n
    points = list_points(ends)
    at_end = sum(s.n for s in data.sums if s.measure == "clock_stock" and s.time is None and s.code == clock)
    rows: list[Mapping[str, Value]] = []
    for point in reversed(points):
        rows.append({"label": write_point(point, ends), "overdue": at_end})
        at_end -= changes.get(point, 0)
    columns = (Column("label", "Day" if ends.days <= _MOST_DAYS else "Month"), Column("overdue", "Overdue", Sort.COUNT))
    return Table("stock", "Risk reviews overdue at the end of each day or month", columns, tuple(reversed(rows)))


def list_points(period: Period) -> list[date]:
    """Return the days of a period, or its months where it is long."""
    if period.days > _MOST_DAYS:
        return period.list_months()
    return [period.first + timedelta(days=number) for number in range(period.days)]


def write_point(point: date, period: Period) -> str:
    """Return a day's or month's label."""
    return f"{point:%B %Y}" if period.days > _MOST_DAYS else f"{point.day} {point:%b}"


def _build_missing(data: ReportData) -> Made:
    messages = data.total("risk")
    events = data.group("referral", "within")
    at: datetime = data.found["at"]
    local = at.astimezone(LONDON)
    return Made(
        tables=(
            make_list("events", "Messages about missing children", "Event", events, whole="Messages"),
            Table(
                "instant",
                f"Risk reviews overdue at {local.day} {local:%B %Y %H:%M}",
                (Column("label", "At"), Column("overdue", "Overdue", Sort.COUNT)),
                ({"label": f"{local.day} {local:%B %Y %H:%M}", "overdue": data.found["overdue"]},),
                note="The period does not apply to this table.",
            ),
            make_stock(data, "risk_review"),
            make_flags(
                "levels",
                "How levels of risk were set",
                "Finding",
                data.group("risk_flag", "code"),
                all_count=messages,
                whole="Assessments expected",
                flags=_MISSING_FLAGS,
            ),
            make_parts(
                "repeats",
                "Children reported missing or referred before",
                "Area",
                data.group("repeat", "area", "code"),
                REPEATS,
                whole="Episodes",
                words=data.name,
            ),
            make_clock_table(data, "interviews", "Risk reviews and return interviews"),
            make_flags(
                "declined",
                "Prevention interviews",
                "Finding",
                data.group("flag", "code"),
                all_count=data.total("referral"),
                whole="Messages",
                flags=("prevention_interview_declined",),
            ),
        ),
        plots=(
            Plot(PlotForm.LINES, "stock", "Risk reviews overdue", ("overdue",), "Overdue"),
            Plot(PlotForm.BARS, "levels", "How levels of risk were set", ("share",), "Of assessments expected"),
        ),
    )  # fmt: skip


MISSING = Report(
    id="missing",
    number=4,
    title="Missing children",
    question="Are risk reviews in time at every instant, are levels reasoned, who goes missing again, and are return interviews held within 72 hours?",
    answer=Answer.PART,
    build=_build_missing,
    filters=(Filter.AREA,),
    own_filters=(OwnFilter("at", "Overdue at", "A date and time, for example 2026-11-24T09:30; now if left empty"),),
    reads=(
        Reading("referral", ("within",), kinds=_MISSING),
        Reading("risk", (), kinds=_MISSING),
        Reading("risk_flag", ("code",), codes=_MISSING_FLAGS, kinds=_MISSING),
        Reading("flag", ("code",), codes=("prevention_interview_declined",), kinds=_MISSING),
        Reading("repeat", ("area", "code"), kinds=_MISSING),
        Reading("clock", ("code", "within"), codes=("risk_review", "return_interview")),
        Reading("clock_stock", ("code", "time"), codes=("risk_review",)),
        Reading("clock_stock", ("code",), codes=("risk_review",), until_end=True),
    ),
    look=_look_missing,
    definitions=(
        ("Overdue", "the review that the assessment itself names had not come by its time"),
        ("Level set without a rationale", "the police gave a level and no words for why (the words themselves are sealed)"),
        ("Level lowered", "the level is lower than the one before it"),
        ("Return interview", "an OUTCOME message within 72 hours of the child's return; a prevention interview does not count"),
    ),
    cannot_say=(
        ("Whether a return interview was offered, held or declined, and what the child said", "the interview's provider and the local authority"),
        ("Whether the rationale is a good one", "the police, or an auditor of the sealed record (report 20)"),
    ),
)  # fmt: skip


def _build_risk(data: ReportData) -> Made:
    states = data.group("risk", "kind", "code")
    expected = sum(states.values())
    kinds = sorted({kind for kind, _ in states}, key=say_kind_order)
    return Made(
        tables=(
            make_parts("states", "Assessments where one is expected", "Kind", states, _RISK, whole="Expected", share="stale", order=say_kind_order),
            make_list("grades", "Levels", "Level", data.group("grade", "code"), whole="Referrals"),
            make_list("tools", "Tools and versions", "Tool", {tool or "none": n for tool, n in data.group("grade", "within").items()}, whole="Referrals"),
            make_flags("checks", "Checks", "Finding", data.group("risk_flag", "code"), all_count=expected, whole="Expected", flags=("supervisor_check_absent", "risk_rationale_missing")),
            make_times("ages", "How old an assessment is when it is sent", "Kind", data, kinds, lambda kind: {"code": "assessed_to_hub", "kind": kind}, whole="Assessments", measure="stage_by_kind"),
            make_parts(
                "reassessed", "Assessed again when there was new information", "Kind", data.group("reassessed", "kind", "code"),
                (("yes", "Newer assessment"), ("no", "The same assessment"), ("none", "No assessment")), whole="Updates", share="yes", order=say_kind_order,
            ),
        ),
        plots=(
            Plot(PlotForm.STACKED, "states", "Assessments where one is expected", tuple(code for code, _ in _RISK), "Of referrals of this kind"),
            Plot(PlotForm.MULTIPLES, "ages", "Age of the assessment when sent", ("median", "p90"), "Time"),
        ),
    )  # fmt: skip


RISK = Report(
    id="risk",
    number=5,
    title="Risk assessments",
    question="Is there an assessment, by which tool and version, checked by a supervisor, current when sent, and renewed after new information?",
    answer=Answer.FULL,
    build=_build_risk,
    filters=(Filter.AREA, Filter.SENDER, Filter.KIND),
    reads=(
        Reading("risk", ("kind", "code")),
        Reading("grade", ("code", "within")),
        Reading("risk_flag", ("code",), codes=("supervisor_check_absent", "risk_rationale_missing")),
        Reading(
            "stage", ("code", "kind", "bucket"), codes=("assessed_to_hub",), own=("area", "kind"), named="stage_by_kind"
        ),
        Reading("reassessed", ("kind", "code")),
    ),
    definitions=(
        ("Expected", "kinds of referral of which the contract expects an assessment; a child found is not asked"),
        (
            "Review overdue when sent",
            "the date by which the assessment itself says it must be reviewed was past when the hub accepted it",
        ),
        (
            "Assessed again",
            "an update or correction carries a later assessment than any message before it in the same matter",
        ),
        ("No supervisor's check", "the sender's system records supervisors' checks and shows none"),
    ),
    cannot_say=(("Whether the level was right", "an auditor of the sealed record (report 20)"),),
)


def _build_ethnicity(data: ReportData) -> Made:
    states = data.group("ethnicity", "agency", "code")
    return Made(
        tables=(
            make_flags("flags", "What is wrong with what is recorded", "Finding", data.group("ethnicity_flag", "code"), all_count=sum(states.values()), whole="Referrals", flags=_ETHNICITY_FLAGS),
            make_parts(
                "senders", "Referrals with any of these, by sender", "Sender", states,
                (("flagged", "With a finding"), ("unflagged", "Without")), whole="Referrals", share="flagged", words=data.name,
            ),
        ),
        plots=(
            Plot(PlotForm.BARS, "flags", "What is wrong with what is recorded", ("share",), "Of referrals about persons"),
            Plot(PlotForm.STACKED, "senders", "Referrals with any finding, by sender", ("flagged", "unflagged"), "Of the sender's referrals"),
        ),
    )  # fmt: skip


ETHNICITY = Report(
    id="ethnicity",
    number=6,
    title="Recording of ethnicity",
    question="Is ethnicity recorded, by the person themselves and without avoidable gaps, and do outcomes differ by it?",
    answer=Answer.PART,
    build=_build_ethnicity,
    filters=(Filter.AREA, Filter.SENDER, Filter.KIND),
    reads=(Reading("ethnicity", ("agency", "code")), Reading("ethnicity_flag", ("code",), codes=_ETHNICITY_FLAGS)),
    definitions=(
        ("Referrals", "new referrals about at least one person"),
        (
            "Not stated, avoidably",
            "not stated because the officer was called away, there was disorder, or it was not understood (N1 to N3)",
        ),
        (
            "Officer's perception only",
            "only an officer-perceived (IC) code is there, which is nobody's self-definition and is never converted into one",
        ),
        ("Finding", "a flag that the sender's gateway raised on the referral as a whole, for any of its children"),
    ),
    cannot_say=(
        (
            "Outcomes by ethnicity",
            "the receiving local authority from its case system: ethnicity is sealed (compartment C13), so the hub cannot know it",
        ),
        ("By team or officer", "the sender, by its own references: the hub knows agencies alone"),
        (
            "Conflict with partners' records, and religion, language or dialect",
            "the recipients, who can compare with their own",
        ),
    ),
)


def _build_voice(data: ReportData) -> Made:
    everything = data.total("referral")
    return Made(
        tables=(
            make_parts("kinds", "Referrals about a living child, by kind", "Kind", data.group("voice", "kind", "code"), _VOICE, whole="Referrals", share="heard", order=say_kind_order),
            make_parts("senders", "Referrals about a living child, by sender", "Sender", data.group("voice", "agency", "code"), _VOICE, whole="Referrals", share="heard", words=data.name),
            make_flags("interpreters", "Interpreters", "Finding", data.group("flag", "code"), all_count=everything, whole="Messages", flags=_INTERPRETER_FLAGS),
        ),
        plots=(
            Plot(PlotForm.STACKED, "kinds", "Is the child's voice in the referral?", ("heard", "not_heard"), "Of referrals about a living child"),
            Plot(PlotForm.STACKED, "senders", "By sender", ("heard", "not_heard"), "Of the sender's referrals"),
        ),
    )  # fmt: skip


VOICE = Report(
    id="voice",
    number=7,
    title="The child's voice and interpreters",
    question="Is the child heard, and is an interpreter used where one is needed, never a relative?",
    answer=Answer.PART,
    build=_build_voice,
    filters=(Filter.AREA, Filter.SENDER, Filter.KIND),
    reads=(
        Reading("voice", ("kind", "agency", "code")),
        Reading("flag", ("code",), codes=_INTERPRETER_FLAGS),
        Reading("referral", ()),
    ),
    definitions=(
        (
            "Child's voice is there",
            "the referral has words, wishes or demeanour of a child (compartment C06); the hub sees that it is there, not what it says",
        ),
        ("A relative interpreted", "a relative or family member interpreted for a child, parent or consent"),
    ),
    cannot_say=(
        (
            "What the child said and whether it shaped the response",
            "the recipients, who can open it; an auditor of the sealed record (report 20)",
        ),
        ("How often an interpreter was needed and used rightly", "the senders: only what went wrong is flagged"),
    ),
)
