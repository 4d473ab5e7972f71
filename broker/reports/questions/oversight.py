"""Who looked at what, and what auditors found in samples: questions 17 and 20."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from broker.reports.cell_store import Reading
from broker.reports.periods import local_day
from broker.reports.plots import Plot, PlotForm
from broker.reports.report import Answer, LookContext, Made, Report, ReportData
from broker.reports.sampling.store import GRADES, list_samples
from broker.reports.shapes import make_list, make_parts
from broker.reports.tables import Column, Sort, Table, Value
from broker.reports.words import say


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
    days = sorted(data.group("access_by_day", "time", agency=person).values())
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
    reads=(
        Reading("access", ("agency", "code", "within"), own=()),
        Reading("access", ("agency", "time"), own=(), named="access_by_day"),
    ),
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
