"""Whether the log, clocks and keys are in order, and agreements in force: questions 18 and 19."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from broker.reports.cell_store import Reading
from broker.reports.periods import local_day
from broker.reports.plots import Plot, PlotForm
from broker.reports.report import Answer, Filter, LookContext, Made, Report, ReportData
from broker.reports.shapes import make_list
from broker.reports.tables import Column, Sort, Table, Value
from broker.reports.words import say

_SKEWS: Final = ("not_ahead", "within_5_seconds", "within_1_minute", "within_5_minutes", "over_5_minutes")


async def _look_log(context: LookContext) -> Mapping[str, Any]:
    row = await context.connection.fetchrow("SELECT size, epoch, at FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    witnessed = await context.connection.fetchrow(
        "SELECT size, count(DISTINCT witness) AS witnesses FROM log_cosignatures WHERE size = (SELECT max(size) FROM log_cosignatures) GROUP BY size"
    )
    keys = await context.connection.fetch(
        "SELECT agency, count(*) AS keys, max(not_before) AS newest, max(not_after) AS until FROM key_announcements GROUP BY agency ORDER BY agency"
    )
    return {"log": row, "witnessed": witnessed, "keys": keys}


def _build_log(data: ReportData) -> Made:
    log, witnessed = data.found["log"], data.found["witnessed"]
    state: list[Mapping[str, Value]] = [
        {"label": "Entries in the log", "value": f"{log['size']:,}" if log else "none"},
        {
            "label": "Entries under cosigned checkpoints",
            "value": f"{witnessed['size']:,}, by {witnessed['witnesses']} witnesses" if witnessed else "none",
        },
        {"label": "Epoch", "value": str(log["epoch"]) if log else "–"},
        {
            "label": "Late or missing checkpoints in the period",
            "value": f"{data.total('log', code='checkpoint_gap'):,}",
        },
    ]
    skew_columns = (Column("label", "Sender"), *(Column(code, say(code), Sort.NUMBER) for code in _SKEWS))
    skews = data.group("skew", "agency", "within")
    key_columns = (
        Column("label", "Agency"),
        Column("keys", "Keys announced", Sort.NUMBER),
        Column("newest", "Newest from", Sort.MOMENT),
        Column("until", "Until", Sort.MOMENT),
    )
    return Made(
        tables=(
            Table("state", "The log", (Column("label", "What"), Column("value", "State")), tuple(state), protected=False),
            make_list("events", "Events in the period", "Event", data.group("log", "code"), whole="Events", protected=False),
            Table(
                "skew", "Clocks that run ahead of the hub's", skew_columns,
                tuple({"label": data.name(agency), **{code: skews.get((agency, code), 0) for code in _SKEWS}} for agency in sorted({a for a, _ in skews})),
                protected=False, note="Messages and receipts whose own time is later than the hub's when it logged them.",
            ),
            Table(
                "keys", "Rotation of encryption keys", key_columns,
                tuple({"label": data.name(k["agency"]), "keys": k["keys"], "newest": k["newest"], "until": k["until"]} for k in data.found["keys"]),
                protected=False, note="The period does not apply to this table. Keys are announced weekly.",
            ),
            make_list("policies", "Policy packs at decision", "Policy pack (first characters of its digest)", data.group("policy", "code"), whole="Decisions", words=str, protected=False),
        ),
        plots=(Plot(PlotForm.BARS, "events", "Events in the period", ("n",), "Events"),),
    )  # fmt: skip


LOG = Report(
    id="log",
    number=18,
    title="Log, clocks and keys",
    question="Does the log verify, do clocks agree, are keys rotated, and which policy decided?",
    answer=Answer.PART,
    build=_build_log,
    filters=(),
    reads=(
        Reading("log", ("code",), own=()),
        Reading("skew", ("agency", "within"), own=()),
        Reading("policy", ("code",), own=()),
    ),
    look=_look_log,
    definitions=(
        ("Cosigned", "at least one witness has checked that the log only grew up to there"),
        ("Ahead", "a clock that is behind looks like a slow network, so only those that run ahead are told apart"),
    ),
    cannot_say=(
        (
            "Whether the whole log verifies",
            "anyone who reads it: the log integrity page, ‘safelane hub fsck’, and each witness, independently",
        ),
    ),
)


async def _look_agreements(context: LookContext) -> Mapping[str, Any]:
    return {"agreements": context.directory.agreements if context.directory is not None else ()}


def _build_agreements(data: ReportData) -> Made:
    today = local_day(data.now)
    used = data.group("agreement", "code", "within")
    columns = (
        Column("label", "Agreement"),
        Column("parties", "Parties", Sort.NUMBER),
        Column("starts", "From", Sort.DAY),
        Column("ends", "Until", Sort.DAY),
        Column("review", "Review due", Sort.DAY),
        Column("state", "State"),
        Column("n", "Deliveries decided under it", Sort.COUNT),
    )
    agreements = data.found["agreements"]
    rows = tuple(
        {
            "label": f"{a.id} {a.name}".strip(),
            "parties": len(a.parties),
            "starts": a.starts_on,
            "ends": a.ends_on,
            "review": a.review_on,
            "state": name_state(a.starts_on, a.ends_on, a.review_on, today),
            "n": sum(n for (code, _), n in used.items() if code == a.id),
        }
        for a in sorted(agreements, key=lambda a: a.id)
    )
    gaps = {outcome: n for (code, outcome), n in used.items() if code == "none"}
    alerts = {code: n for code, n in data.group("alert", "code").items() if code.startswith("agreement_")}
    return Made(
        tables=(
            Table("agreements", "Agreements in the directory", columns, rows),
            make_list(
                "gaps",
                "Deliveries that no agreement covers, by what became of them",
                "Outcome",
                gaps,
                whole="Deliveries",
            ),
            make_list("alerts", "Alerts about agreements", "Alert", alerts, whole="Deliveries"),
        ),
        plots=(Plot(PlotForm.BARS, "agreements", "Deliveries decided under each agreement", ("n",), "Deliveries"),),
    )


def name_state(starts: date, ends: date, review: date | None, today: date) -> str:
    """Return an agreement's state on a local day; both its ends are in force."""
    if today < starts:
        return "Not started"
    if today > ends:
        return "Expired"
    if review is not None and review < today:
        return f"In force, review {(today - review) // timedelta(days=1)} days overdue"
    return "In force"


AGREEMENTS = Report(
    id="agreements",
    number=19,
    title="Agreements",
    question="Is all sharing covered by an agreement in force, and are agreements reviewed in time?",
    answer=Answer.FULL,
    build=_build_agreements,
    filters=(Filter.AREA, Filter.KIND),
    reads=(
        Reading("agreement", ("code", "within"), own=("area", "kind")),
        Reading("alert", ("code",), own=("area", "kind")),
    ),
    look=_look_agreements,
    definitions=(
        (
            "Covered",
            "sender, recipient, kind and purpose are listed by an agreement in force on the local day of the decision",
        ),
        (
            "Overdue",
            "the review date is past; the agreement stays in force, and every decision under it raises an alert",
        ),
    ),
)
