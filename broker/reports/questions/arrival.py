"""What did not arrive or was taken back, and what the referrer hears: questions 10 and 11."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from broker.reports.cell_store import Reading
from broker.reports.periods import ReportAskedWrongly
from broker.reports.plots import Plot, PlotForm
from broker.reports.report import Answer, Filter, LookContext, Made, OwnFilter, Report, ReportData
from broker.reports.shapes import make_list, make_parts, make_times
from broker.reports.words import say, say_kind_order

_REACHED: Final = (
    ("open", "Not received"),
    ("taken", "Received, not opened"),
    ("opened", "Opened"),
    ("actioned", "Acted on"),
    ("refused", "Refused"),
    ("outcome", "Outcome sent"),
)
_MOST_HOURS: Final = 24 * 365


async def _look_unopened(context: LookContext) -> Mapping[str, Any]:
    filters = context.filters
    hours = read_hours(filters.find("hours", "24"))
    rows = await context.connection.fetch(
        "SELECT recipient, reached, count(*) AS n FROM report_deliveries WHERE outcome = 'delivered' AND reached IN ('open', 'taken')"
        " AND counted AND released_at < $1 AND ($2::text IS NULL OR area = $2) AND ($3::text IS NULL OR kind = $3)"
        " AND ($4::text IS NULL OR recipient = $4) GROUP BY 1, 2",
        context.now - timedelta(hours=hours),
        filters.area,
        filters.kind,
        filters.agency,
    )
    return {"hours": hours, "unopened": {(row["recipient"], row["reached"]): row["n"] for row in rows}}


def read_hours(text: str) -> int:
    """Return a number of hours.

    Raises:
        ReportAskedWrongly: it is none, or over a year.
    """
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_HOURS:
        raise ReportAskedWrongly(f"must be hours from 1 to {_MOST_HOURS}", field="hours")
    return int(text)


def _build_undelivered(data: ReportData) -> Made:
    hours = data.found["hours"]
    refused: dict[str, int] = {}
    for (code, within), n in data.group("refused_message", "code", "within").items():
        refused[f"{say(code)}: {within.replace('-', ' ')}"] = n
    return Made(
        tables=(
            make_parts(
                "reached",
                "How far each agency's deliveries came",
                "Agency",
                data.group("reached", "agency", "code"),
                _REACHED,
                whole="Released",
                share="open",
                words=data.name,
            ),
            make_parts(
                "unopened",
                f"Not opened {hours} hours after release, now",
                "Agency",
                data.found["unopened"],
                _REACHED[:2],
                whole="Not opened",
                words=data.name,
                note="The period does not apply to this table: it shows what is unopened at this moment.",
            ),
            make_list(
                "refused",
                "Messages that had no effect",
                "Why",
                refused,
                whole="Messages",
                protected=False,
                note="Counts of messages that broke a rule or could not be handled; their senders were told. They concern systems, not children.",
            ),
            make_parts(
                "recalls",
                "Deliveries recalled by their senders",
                "Reason",
                data.group("recall", "within", "code"),
                (("confirmed", "Deletion confirmed"), ("asked", "Not confirmed")),
                whole="Recalled",
                share="confirmed",
            ),
            make_times(
                "deletion", "From recall to confirmed deletion", "", data, ["recall_to_end"], lambda code: {"code": code},
                whole="Confirmed", words=lambda _: "Recall to deletion",
            ),
        ),
        plots=(
            Plot(PlotForm.STACKED, "reached", "How far deliveries came", tuple(code for code, _ in _REACHED), "Of the agency's deliveries"),
            Plot(PlotForm.BARS, "unopened", f"Not opened after {hours} hours", ("all",), "Deliveries"),
        ),
    )  # fmt: skip


UNDELIVERED = Report(
    id="undelivered",
    number=10,
    title="Undelivered, unopened and recalled",
    question="What was not delivered or not opened, what could not be handled, and what went to the wrong recipient and was recalled?",
    answer=Answer.FULL,
    build=_build_undelivered,
    filters=(Filter.AREA, Filter.RECIPIENT, Filter.KIND),
    own_filters=(OwnFilter("hours", "Hours", "Not opened for more than so many hours, for example 24"),),
    reads=(
        Reading("reached", ("agency", "code")),
        Reading("refused_message", ("code", "within"), own=()),
        Reading("recall", ("within", "code")),
        Reading("stage", ("code", "bucket"), codes=("recall_to_end",), own=("area", "kind")),
    ),
    look=_look_unopened,
    definitions=(
        ("Released", "deliveries that policy let go"),
        (
            "Not received",
            "no signed receipt of the recipient's gateway is logged; it is offered again until there is one",
        ),
        ("Opened", "a person at the recipient opened it, by its gateway's signed receipt"),
        ("Recalled", "the sender asked for deletion, by a signed recall with a reason code such as wrong_recipient"),
    ),
)


def _build_feedback(data: ReportData) -> Made:
    new = data.total("feedback")
    return Made(
        tables=(
            make_parts(
                "feedback",
                "Referrals whose sender was told the outcome by a message",
                "Kind",
                data.group("feedback", "kind", "code"),
                (("outcome", "Outcome sent"), ("none", "None yet")),
                whole="Referrals",
                share="outcome",
                order=say_kind_order,
            ),
            make_times(
                "time", "From referral to outcome message", "", data, ["hub_to_outcome"], lambda code: {"code": code},
                whole="With an outcome", words=lambda _: "Referral to outcome",
            ),
            make_list("refusals", "Deliveries refused by their recipients, by reason", "Reason", data.group("refusal", "code"), whole="Refused"),
            make_list("escalated", "Escalations: clocks that ran out", "Clock", data.group("escalated", "code"), whole="Escalated"),
            make_list("overdue", "Escalations: holds and reviews that were overdue", "Waiting for", data.group("overdue", "code"), whole="Escalated"),
        ),
        plots=(
            Plot(PlotForm.STACKED, "feedback", "Was the referrer told?", ("outcome", "none"), "Of referrals of this kind"),
            Plot(PlotForm.BARS, "refusals", "Why deliveries are refused", ("n",), "Deliveries"),
        ),
        notes=(f"{new:,} new referrals were accepted in the period." if new >= 5 else "There were few new referrals in the period.",),
    )  # fmt: skip


FEEDBACK = Report(
    id="feedback",
    number=11,
    title="Feedback and escalation",
    question="Does the referrer hear what came of it, and is disagreement escalated?",
    answer=Answer.PART,
    build=_build_feedback,
    reads=(
        Reading("feedback", ("kind", "code")),
        Reading("stage", ("code", "bucket"), codes=("hub_to_outcome",)),
        Reading("refusal", ("code",)),
        Reading("escalated", ("code",)),
        Reading("overdue", ("code",)),
    ),
    definitions=(
        ("Outcome sent", "a recipient sent an OUTCOME message in the same matter"),
        ("Refused", "a recipient's signed receipt refuses the delivery, with a reason code"),
        (
            "Escalated",
            "the hub told the agency's named roles that a clock or a review had run out; counted on the day of the escalation",
        ),
    ),
    cannot_say=(
        ("What the outcome says", "the sender's gateway, which opened it"),
        ("Professional disagreement that was settled by telephone or meeting", "the agencies' own escalation records"),
    ),
)
