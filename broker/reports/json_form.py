"""A report as JSON: what is shown, suppressed as on the page, and values as numbers, seconds or ISO 8601."""

from datetime import date, timedelta
from typing import Any

from broker.reports.report import Report, ReportResult
from broker.reports.tables import ShownTable


def describe_report(report: Report) -> dict[str, Any]:
    """Return what a report is, without figures."""
    return {
        "report": report.id,
        "number": report.number,
        "title": report.title,
        "question": report.question,
        "answer": report.answer.value,
        "filters": [name.value for name in report.filters] + [own.name for own in report.own_filters],
        "definitions": dict(report.definitions),
        "cannot_say": dict(report.cannot_say),
    }


def to_json(result: ReportResult) -> dict[str, Any]:
    """Return a report with its figures."""
    return {
        **describe_report(result.report),
        "asked": result.filters.to_texts(),
        "made_at": result.made_at.isoformat(),
        "threshold": result.threshold,
        "notes": list(result.notes),
        "tables": [_table_to_json(table) for table in result.tables],
    }


def _table_to_json(table: ShownTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": [{"name": c.name, "title": c.title, "sort": c.sort.value} for c in table.columns],
        "rows": [[{"text": cell.text, "value": _plain(cell.value)} for cell in row] for row in table.rows],
    }


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, date) else value
