"""Who knew what, who looked, whether the log and the agreements hold, and the audit sample: questions 16 to 20."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

from broker.reports.cell_store import Reading
from broker.reports.periods import local_day
from broker.reports.plots import Plot, PlotForm
from broker.reports.report import Answer, Filter, LookContext, Made, OwnFilter, Report, ReportData
from broker.reports.sampling.store import GRADES, list_samples
from broker.reports.shapes import make_list, make_parts
from broker.reports.tables import Column, Sort, Table, Value
from broker.reports.words import COMPARTMENTS, say

_SKEWS: Final = ("not_ahead", "within_5_seconds", "within_1_minute", "within_5_minutes", "over_5_minutes")
_MOST_STEPS: Final = 500
_STEPS: Final = """
WITH chosen AS (
  SELECT DISTINCT s.message_id FROM report_subjects mine JOIN report_subjects s USING (token)
  JOIN report_referrals r ON r.message_id = mine.message_id WHERE r.referral_id = $1
  UNION SELECT message_id FROM report_referrals WHERE referral_id = $1
  UNION SELECT o.message_id FROM report_referrals r JOIN report_referrals o USING (conversation) WHERE r.referral_id = $1
)
SELECT at, what, who, whom, kind, told FROM (
  SELECT accepted_at AS at, 'sent' AS what, sender AS who, '' AS whom, kind, ARRAY[]::text[] AS told
    FROM report_referrals JOIN chosen USING (message_id)
  UNION ALL SELECT released_at, 'released', sender, recipient, kind, compartments FROM report_deliveries JOIN chosen USING (message_id)
    WHERE outcome = 'delivered' AND released_at IS NOT NULL
  UNION ALL SELECT accepted_at, first_outcome, sender, recipient, kind, ARRAY[]::text[] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE first_outcome <> 'delivered'
  UNION ALL SELECT taken_at, 'received', recipient, '', kind, ARRAY[]::text[] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE taken_at IS NOT NULL
  UNION ALL SELECT opened_at, 'opened', recipient, '', kind, compartments FROM report_deliveries JOIN chosen USING (message_id)
    WHERE opened_at IS NOT NULL
  UNION ALL SELECT actioned_at, 'acted on', recipient, '', kind, ARRAY[]::text[] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE actioned_at IS NOT NULL
  UNION ALL SELECT refused_at, 'refused', recipient, '', kind, ARRAY[refusal] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE refused_at IS NOT NULL
  UNION ALL SELECT recalled_at, 'recalled', sender, recipient, kind, ARRAY[recall] FROM report_deliveries JOIN chosen USING (message_id)
    WHERE recalled_at IS NOT NULL
  UNION ALL SELECT breached_at, 'clock ran out', recipient, '', kind, ARRAY[clock] FROM report_clocks JOIN chosen USING (message_id)
    WHERE breached_at IS NOT NULL
) AS steps ORDER BY at, array_position(ARRAY['sent', 'held', 'withheld', 'rejected', 'undeliverable', 'released', 'received', 'opened', 'acted on',
  'refused', 'recalled', 'clock ran out'], what), who, whom LIMIT $2
"""


async def _look_chronology(context: LookContext) -> Mapping[str, Any]:
    wanted = context.filters.find("referral")
    if not wanted:
        return {"steps": []}
    return {"steps": await context.connection.fetch(_STEPS, wanted, _MOST_STEPS)}


def _build_chronology(data: ReportData) -> Made:
    columns = (
        Column("label", "When", Sort.MOMENT),
        Column("who", "Who"),
        Column("what", "What"),
        Column("whom", "To whom"),
        Column("kind", "Kind"),
        Column("told", "What was in it, or why"),
    )
    rows = tuple(
        {
            "label": step["at"],
            "who": data.name(step["who"]) if step["who"] else "–",
            "what": say(step["what"]),
            "whom": data.name(step["whom"]) if step["whom"] else "–",
            "kind": say(step["kind"]),
            "told": _say_told(step["told"]),
        }
        for step in data.found["steps"]
    )
    notes = (
        []
        if data.filters.find("referral")
        else ["Enter a referral's id to see every step of it, and of every other referral about the same child."]
    )
    if len(rows) == _MOST_STEPS:
        notes.append(f"Only the first {_MOST_STEPS} steps are shown.")
    return Made(tables=(Table("steps", "Who knew what, when", columns, rows, protected=False, note="The period does not apply. It is about one child: nothing is counted, so nothing is suppressed."),), notes=tuple(notes))  # fmt: skip


def _say_told(told: list[str]) -> str:
    """Return what was sent of compartments, or a reason."""
    if any("=" in text for text in told):
        sent = [text.split("=")[0] for text in told if text.endswith("=sent")]
        return ", ".join(COMPARTMENTS.get(compartment, compartment) for compartment in sent) or "Nothing at first"
    return ", ".join(say(text) for text in told) or "–"


CHRONOLOGY = Report(
    id="chronology",
    number=16,
    title="Chronology of one child",
    question="Who knew what about this child, and when, across all agencies?",
    answer=Answer.PART,
    build=_build_chronology,
    filters=(),
    own_filters=(OwnFilter("referral", "Referral id", "Any referral about the child"),),
    look=_look_chronology,
    definitions=(
        ("The same child", "referrals that share a pseudonym with the one named, and messages in the same matter; pseudonyms are kept for 13 months"),
        ("What was in it", "the compartments that the first decision let go; the hub cannot see what they say"),
    ),
    cannot_say=(
        ("What was known, in words", "each agency from its own record; its gateway can prove what it opened"),
        ("What agencies told each other by telephone, at meetings or by other systems", "the agencies"),
    ),
)  # fmt: skip


def _build_access(data: ReportData) -> Made:
    columns = (
        Column("label", "Person"),
        Column("n", "All", Sort.NUMBER),
        Column("reads", "Read or searched", Sort.NUMBER),
        Column("exports", "Exported", Sort.NUMBER),
        Column("logins", "Sign-ins", Sort.NUMBER),
        Column("out", "Out of office hours", Sort.NUMBER),
        Column("busiest", "Most on one day", Sort.NUMBER),
        Column("usual", "On a usual day", Sort.NUMBER),
        Column("unusual", "Unusual"),
    )
    people = sorted(data.group("access", "agency"), key=lambda p: (-data.total("access", agency=p), p))
    rows = tuple(_describe_person(data, person) for person in people)
    actions = dict(data.group("access", "code").items())
    note = "People here are staff of the partnership: nothing is suppressed."
    return Made(
        tables=(
            Table("people", "Who looked, and how much", columns, rows, protected=False, note=note),
            make_list("actions", "What was done", "Action", actions, whole="Times", words=_say_action, protected=False),
        ),
        plots=(Plot(PlotForm.MULTIPLES, "people", "Who looked, and how much", ("reads", "exports", "out"), "Times"),),
    )


def _describe_person(data: ReportData, person: str) -> dict[str, Value]:
    """Return one person's row. Unusual: a day with over three times, and ten more than, their usual day; or over half out of office hours."""
    by_code = data.group("access", "code", agency=person)
    days = sorted(data.group("access", "time", agency=person).values())
    total, out = sum(by_code.values()), data.total("access", agency=person, within="out_of_hours")
    usual, busiest = (days[(len(days) - 1) // 2], days[-1]) if days else (0, 0)
    signs = []
    if busiest > 3 * usual and busiest - usual > 10:
        signs.append("much more than usual on one day")
    if total >= 10 and out > total / 2:
        signs.append("mostly out of office hours")
    failed = sum(
        n
        for code, n in by_code.items()
        if code.startswith("console_login:") and not code.endswith(("ok", "success", "signed_in"))
    )
    if failed >= 5:
        signs.append("failed sign-ins")
    return {
        "label": person or "unknown",
        "n": total,
        "reads": sum(n for code, n in by_code.items() if code.startswith("audit_read:")),
        "exports": sum(n for code, n in by_code.items() if code.startswith("export:")),
        "logins": sum(n for code, n in by_code.items() if code.startswith("console_login:")),
        "out": out,
        "busiest": busiest,
        "usual": usual,
        "unusual": ", ".join(signs) or "–",
    }


def _say_action(code: str) -> str:
    event, _, action = code.partition(":")
    return f"{say(event)}: {action.replace('_', ' ')}"


ACCESS = Report(
    id="access",
    number=17,
    title="Access to the audit",
    question="Who looked at what, is any of it unusual, and are searches themselves audited?",
    answer=Answer.FULL,
    build=_build_access,
    filters=(),
    reads=(Reading("access", ("agency", "code", "within", "time"), own=()),),
    definitions=(
        ("Read or searched", "each is an event of the log before anything is shown; this page is one of them"),
        (
            "Out of office hours",
            "Saturday, Sunday, or before 8:00 or after 18:59 on other days; bank holidays count as other days",
        ),
        ("On a usual day", "the median of the days (of the months, in a long period) on which the person did anything"),
    ),
    cannot_say=(("Who opened a referral at an agency", "the agency's gateway, whose receipts name the person"),),
)


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


async def _look_samples(context: LookContext) -> Mapping[str, Any]:
    grades = await context.connection.fetch("SELECT theme, grade, count(*) AS n FROM audit_grades GROUP BY 1, 2")
    actions = await context.connection.fetch(
        "SELECT action, CASE WHEN reaudit_on IS NULL THEN 'none' WHEN reaudit_on < $1 THEN 'overdue' ELSE 'due' END AS state, count(*) AS n"
        " FROM audit_grades WHERE action <> 'none' GROUP BY 1, 2",
        local_day(context.now),
    )
    return {
        "samples": await list_samples(context.connection),
        "grades": {(row["theme"], row["grade"]): row["n"] for row in grades},
        "actions": {(row["action"], row["state"]): row["n"] for row in actions},
    }


def _build_samples(data: ReportData) -> Made:
    columns = (
        Column("label", "Sample"),
        Column("first", "From", Sort.DAY),
        Column("last", "To", Sort.DAY),
        Column("strata", "Strata"),
        Column("population", "Drawn from", Sort.NUMBER),
        Column("size", "Size asked for", Sort.NUMBER),
        Column("graded", "Graded", Sort.NUMBER),
        Column("twice", "Graded by two or more", Sort.NUMBER),
        Column("agreed", "With the same grade", Sort.NUMBER),
    )
    rows = tuple(
        {
            "label": sample["sample_id"],
            "first": sample["first_on"],
            "last": sample["last_on"],
            "strata": ", ".join(sample["strata"]) or "none",
            "population": sample["population"],
            **{name: sample[name] for name in ("size", "graded", "twice", "agreed")},
        }
        for sample in data.found["samples"]
    )
    graded = tuple((grade, say(grade)) for grade in GRADES)
    note = "These count auditors' work, not children: nothing is suppressed."
    themes = make_parts("themes", "Grades by theme", "Theme", data.found["grades"], graded, whole="Grades")
    actions = make_parts(
        "actions", "Actions, and whether they were audited again", "Action", data.found["actions"],
        (("due", "Re-audit to come"), ("overdue", "Re-audit day is past"), ("none", "No day")), whole="Actions",
    )  # fmt: skip
    return Made(
        tables=(
            Table("samples", "Samples", columns, rows, protected=False, note=note),
            replace(themes, protected=False),
            replace(actions, protected=False),
        ),
        plots=(Plot(PlotForm.STACKED, "themes", "Grades by theme", GRADES, "Of grades"),),
    )


SAMPLES = Report(
    id="samples",
    number=20,
    title="Audit samples",
    question="Does a reproducible random sample, read by auditors, show good practice, and were the actions audited again?",
    answer=Answer.PART,
    build=_build_samples,
    filters=(),
    look=_look_samples,
    definitions=(
        (
            "Reproducible",
            "the seed is in the log, in clear, before anything is drawn; the same seed, period and strata give the same sample to anybody",
        ),
        ("With the same grade", "of those that two or more auditors graded, how many all of them graded alike"),
    ),
    cannot_say=(
        (
            "What the sampled records say",
            "the sending or receiving agency, which opens them for the auditor; only grade, theme and action come back here",
        ),
    ),
)
