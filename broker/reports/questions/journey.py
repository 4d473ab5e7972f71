"""How long a referral takes, and which statutory clocks are met: questions 1 and 2."""

from collections.abc import Mapping
from typing import Any, Final

from broker.reports.cell_store import Reading
from broker.reports.plots import Plot, PlotForm
from broker.reports.report import Answer, Filter, LookContext, Made, Report, ReportData
from broker.reports.shapes import make_parts, make_times
from broker.reports.tables import Table
from broker.reports.words import CLOCKS, STAGES, say, say_kind_order

_CLOCK_STATES: Final = (
    ("met", "Met in time"),
    ("met_late", "Met late"),
    ("breached", "Overdue"),
    ("running", "Running"),
    ("paused", "Waiting for the sender"),
)
_KEPT: Final = (("breached", "Ran out"), ("kept", "Did not"))
_AGE_PARTS: Final = (
    ("day", "Up to a day"),
    ("week", "Up to a week"),
    ("month", "Up to a month"),
    ("longer", "Longer"),
)


def make_clock_table(data: ReportData, name: str, title: str, *, by: str = "code", **where: str) -> Table:
    """Return where clocks stand, by clock or by another dimension."""
    order = (lambda code: list(CLOCKS).index(code) if code in CLOCKS else len(CLOCKS)) if by == "code" else None
    words = say if by == "code" else data.name if by in {"agency", "area"} else say
    counts = data.group("clock", by, "within", **where)
    return make_parts(name, title, "Clock" if by == "code" else by.capitalize(), counts, _CLOCK_STATES, whole="Clocks", share="met", words=words, order=order)  # fmt: skip


def _fill_hours(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Return counts by hour with every hour of the day in them, if there are any."""
    return {**{(f"{hour:02d}", "kept"): 0 for hour in range(24) if counts}, **counts}


def _build_journey(data: ReportData) -> Made:
    return Made(
        tables=(
            _make_stages(data),
            _make_opened(data),
            _make_ran_out(data, "kinds", "kind of referral", by="kind", order=say_kind_order),
            _make_ran_out(data, "areas", "area", by="area", words=data.name),
            _make_hours(data),
        ),
        plots=_JOURNEY_PLOTS,
    )


def _make_stages(data: ReportData) -> Table:
    stages = [code for code in STAGES if data.total("stage", code=code)]
    title = "How long each step takes"
    return make_times("stages", title, "Step", data, stages, lambda code: {"code": code}, whole="Measured")


def _make_opened(data: ReportData) -> Table:
    return make_times(
        "opened",
        "From release to opening, by kind of referral",
        "Kind",
        data,
        sorted(data.group("stage_by_kind", "kind"), key=say_kind_order),
        lambda kind: {"code": "released_to_opened", "kind": kind},
        whole="Deliveries opened",
        measure="stage_by_kind",
    )


def _make_ran_out(data: ReportData, name: str, words_for_by: str, *, by: str, **shape: Any) -> Table:
    """Return how many clocks ran out of all, by a dimension of the referral."""
    counts = data.group("clock_hour", by, "within")
    return _make_share_out(name, f"Clocks that ran out, by {words_for_by}", by.capitalize(), counts, **shape)


def _make_hours(data: ReportData) -> Table:
    counts = _fill_hours(data.group("clock_hour", "code", "within"))
    title = "Clocks that ran out, by the hour at which the referral came"
    return _make_share_out("hours", title, "Hour", counts, words=lambda hour: f"{hour}:00")


def _make_share_out(name: str, title: str, heading: str, counts: Mapping[tuple[str, str], int], **shape: Any) -> Table:
    return make_parts(
        name,
        title,
        heading,
        counts,
        _KEPT,
        whole="Clocks",
        share="breached",
        hidden=("kept",),
        shares={"all": "clocks", "breached": "breached"},
        **shape,
    )


_JOURNEY_PLOTS: Final = (
    Plot(
        PlotForm.MULTIPLES,
        "stages",
        "Half are done within the median, 9 in 10 within the p90",
        ("median", "p90"),
        "Time",
    ),
    Plot(PlotForm.MULTIPLES, "opened", "How long until a delivery is opened", ("median", "p90"), "Time"),
    Plot(PlotForm.BARS, "kinds", "Share of clocks that ran out", ("share",), "Of all clocks"),
    Plot(PlotForm.COLUMNS, "hours", "Clocks that ran out, by hour of the day", ("breached",), "Clocks"),
)


JOURNEY = Report(
    id="journey",
    number=1,
    title="From incident to outcome",
    question="How long does each step take, from the incident to the outcome, and where do clocks run out: for which kinds, areas and hours?",
    answer=Answer.PART,
    build=_build_journey,
    reads=(
        Reading("stage", ("code", "bucket"), codes=tuple(STAGES)),
        Reading("stage", ("code", "kind", "bucket"), codes=("released_to_opened",), named="stage_by_kind"),
        Reading("clock_hour", ("kind", "area", "code", "within")),
    ),
    definitions=(
        ("Incident to referral", "from when the sender says that it happened to when the hub accepted the referral"),
        ("Released to received", "from when policy let the delivery go to the recipient's gateway's signed receipt"),
        ("Released to opened", "to the signed receipt that a person opened it"),
        ("Opened to acted on", "to the signed receipt that the recipient acted on it: its decision"),
        ("Referral to outcome message", "from acceptance to the first OUTCOME message of a recipient in the same matter"),
        ("Median and 9 in 10", "half, or nine tenths, took at most so long; right to within 2 in 100"),
        ("Ran out", "a statutory or local clock that was not met by its due instant, met later or not"),
    ),
    cannot_say=(
        ("What the decision was, and whether the outcome was right for the child", "the recipient's case system"),
        ("Steps before the referral reached the hub, beyond the incident's own time", "the sender's record system"),
    ),
)  # fmt: skip


def _build_clocks(data: ReportData) -> Made:
    clocks = sorted(data.group("stage", "code"))
    overdue: dict[tuple[str, str], int] = data.found["overdue"]
    return Made(
        tables=(
            make_clock_table(data, "clocks", "Where each clock stands"),
            make_parts(
                "overdue",
                "Overdue now, whenever the referral came, by how long",
                "Clock",
                overdue,
                _AGE_PARTS,
                whole="Overdue",
                note="The period does not apply to this table: it shows what is overdue at this moment.",
            ),
            make_clock_table(data, "agencies", "Where each agency's clocks stand", by="agency"),
            make_times(
                "late",
                "How late those are that were met late",
                "Clock",
                data,
                clocks,
                lambda code: {"code": code},
                whole="Met late",
                words=lambda code: say(code.removeprefix("late:")),
            ),
        ),
        plots=(
            Plot(PlotForm.STACKED, "clocks", "Where each clock stands", tuple(code for code, _ in _CLOCK_STATES), "Of the clock's referrals"),
            Plot(PlotForm.BARS, "overdue", "Overdue now", ("all",), "Clocks"),
        ),
    )  # fmt: skip


async def _look_overdue(context: LookContext) -> Mapping[str, Any]:
    filters = context.filters
    rows = await context.connection.fetch(
        "SELECT clock, CASE WHEN due_at > $1::timestamptz - interval '1 day' THEN 'day' WHEN due_at > $1::timestamptz - interval '7 days' THEN 'week'"
        " WHEN due_at > $1::timestamptz - interval '31 days' THEN 'month' ELSE 'longer' END AS age, count(*) AS n FROM report_clocks"
        " WHERE state = 'breached' AND counted AND ($2::text IS NULL OR area = $2) AND ($3::text IS NULL OR kind = $3)"
        " AND ($4::text IS NULL OR recipient = $4) GROUP BY 1, 2",
        context.now,
        filters.area,
        filters.kind,
        filters.agency,
    )
    return {"overdue": {(row["clock"], row["age"]): row["n"] for row in rows}}


CLOCK_REPORT = Report(
    id="clocks",
    number=2,
    title="Statutory clocks",
    question="Which statutory and local clocks were met, which were late, and which are overdue now?",
    answer=Answer.PART,
    build=_build_clocks,
    filters=(Filter.AREA, Filter.RECIPIENT, Filter.KIND),
    reads=(
        Reading("clock", ("code", "within", "agency")),
        Reading("stage", ("code", "bucket"), codes=tuple(f"late:{clock}" for clock in CLOCKS), own=("area", "kind")),
    ),
    look=_look_overdue,
    definitions=(
        ("Clock", "a period that statute, guidance or local policy sets, on the hub's logged time; one for each recipient that it binds"),
        ("Met in time", "what meets it (a receipt or a message) was logged by the due instant, the instant itself included"),
        ("Overdue", "ran out and has not been met since"),
        ("Waiting for the sender", "a local clock that stands still because its recipient asked the sender for more"),
    ),
    cannot_say=(
        ("Why a clock was late", "the recipient: reasons stand in its own records; the hub sees receipts and refusal codes alone (report 11)"),
    ),
)  # fmt: skip
