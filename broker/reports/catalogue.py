"""All reports, in the order of DOMAIN section 7. Report 20, the audit sample, has pages and commands of its own (``broker.reports.sampling``)."""

from typing import Final

from broker.reports.questions import arrival, children, chronology, journey, oversight, sharing, upkeep
from broker.reports.report import Report
from schemas.errors import NotFound

REPORTS: Final[tuple[Report, ...]] = tuple(
    sorted(
        (
            journey.JOURNEY,
            journey.CLOCK_REPORT,
            children.ENCOMPASS,
            children.MISSING,
            children.RISK,
            children.ETHNICITY,
            children.VOICE,
            sharing.BASIS,
            sharing.WITHHELD,
            arrival.UNDELIVERED,
            arrival.FEEDBACK,
            sharing.REPEAT,
            sharing.STRATEGY,
            sharing.ONLINE,
            sharing.CORRECTIONS,
            chronology.CHRONOLOGY,
            oversight.ACCESS,
            upkeep.LOG,
            upkeep.AGREEMENTS,
            oversight.SAMPLES,
        ),
        key=lambda report: report.number,
    )
)


def find_report(report_id: str) -> Report:
    """Return the report of an id.

    Raises:
        NotFound: there is none.
    """
    for report in REPORTS:
        if report.id == report_id:
            return report
    raise NotFound("there is no such report", field="report")
