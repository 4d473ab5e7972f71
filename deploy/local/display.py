"""What the demonstration shows people: one table a referral, as its sender sees it, and the summary that it leaves behind."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.local.expectation import Difference
from deploy.local.leak_search import SearchReport
from deploy.local.story import ToldDocument, ToldReferral

LEGEND = "F full, S summary, P pointer, of compartments C01 to C17; D0 to D12 are rules. All codes: docs/codes.md"
_FORMS = ("full", "summary", "pointer")
_STOPS = ("held", "withheld", "rejected")
_MARKS = {"delivered": "green", "held": "yellow", "withheld": "magenta", "rejected": "red"}


def show_document(console: Console, told: ToldDocument) -> None:
    """Show every referral of a document: who received which compartments, what was stopped, and by which rule."""
    for referral in told.referrals:
        _show_referral(console, referral)
    for fault in told.faults:
        where = f"record {fault['number']}" if fault.get("number") else "whole document"
        console.print(f"  [red]refused[/] {told.document}, {where}, at {fault.get('field')}: {fault.get('detail')}")


def _show_referral(console: Console, told: ToldReferral) -> None:
    referral = told.referral
    danger = ", immediate danger" if referral.risk.immediate_danger else ""
    title = f"{told.name}: {referral.kind} from {referral.sender}, risk {referral.risk.grade.value}{danger}"
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=False, expand=False)
    for heading in ("Recipient (role)", "Outcome", "Rule", "Receives", "Stopped, and by which rule", "Receipt"):
        table.add_column(heading, overflow="fold")
    for delivery in told.deliveries:
        decision = delivery["decision"]
        outcome = delivery["outcome"]
        table.add_row(
            f"{decision.get('deliver_to') or delivery['recipient']} ({delivery['role']})",
            f"[{_MARKS.get(outcome, 'white')}]{outcome}[/]",
            decision["row"],
            describe_sent(decision),
            describe_stopped(decision),
            (delivery.get("receipt") or {}).get("state", "–"),
        )
    console.print(table)
    for reason in _reasons(told):
        console.print(f"  {reason}", style="dim")


def describe_sent(decision: dict[str, Any]) -> str:
    """Return the compartments that go, by form: ``F C01 C02 · S C04``."""
    groups = []
    for form in _FORMS:
        codes = [c for c, d in decision["compartments"].items() if d["result"] == form]
        if codes:
            groups.append(f"{form[0].upper()} {' '.join(codes)}")
    return " · ".join(groups) or "nothing"


def describe_stopped(decision: dict[str, Any]) -> str:
    """Return the compartments that do not go, with result and rule."""
    groups: dict[tuple[str, str], list[str]] = {}
    for code, verdict in decision["compartments"].items():
        if verdict["result"] in _STOPS:
            groups.setdefault((verdict["result"], verdict["row"]), []).append(code)
    return "; ".join(f"{' '.join(codes)} {result} {row}" for (result, row), codes in groups.items())


def _reasons(told: ToldReferral) -> Iterable[str]:
    """Return each distinct reason for which something was stopped, once."""
    seen: dict[str, None] = {}
    for delivery in told.deliveries:
        for verdict in delivery["decision"]["compartments"].values():
            if verdict["result"] in _STOPS and verdict.get("reason"):
                seen[f"{verdict['row']}: {verdict['reason']}"] = None
    return sorted(seen)


def show_differences(console: Console, differences: Sequence[Difference]) -> None:
    """Show what is not as expected."""
    for difference in differences:
        console.print(
            f"  [red]differs[/] {difference.record} {difference.field}: expected {difference.expected}, observed {difference.observed}"
        )


def write_summary(
    path: Path, told: Sequence[ToldDocument], refused: Sequence[ToldDocument], search: SearchReport, made_at: datetime
) -> None:
    """Write ``SUMMARY.md``: what went where, what was stopped, and what the search found."""
    referrals = [referral for document in told for referral in document.referrals]
    lines = [
        "# What the demonstration did",
        "",
        f"Made {made_at:%d %B %Y, %H:%M} UTC. Everything in the samples is invented.",
        "",
        f"- {len(referrals)} referrals from {len(told)} documents; {len(refused)} faulty documents refused with a reason.",
        f"- {_count(referrals, 'delivered')} deliveries opened by their recipients, {_count(referrals, 'held')} held for a person, "
        f"{_count(referrals, 'withheld')} withheld, {_count(referrals, 'rejected')} rejected; the sender was told each reason.",
        f"- {search.bytes_searched:,} bytes of database, queues, logs and stores searched in {search.places} places for the "
        f"content of all referrals: {len(search.leaks)} found.",
        "",
        "What each agency received is in `received/<agency>/`: `referral.json` for systems, `referral.pdf` for people.",
        f"{LEGEND}.",
        "",
        "| Referral | Recipient | Outcome | Rule | Receives | Stopped |",
        "|---|---|---|---|---|---|",
    ]
    for referral in referrals:
        for delivery in referral.deliveries:
            decision = delivery["decision"]
            lines.append(
                f"| {referral.name} {referral.referral.kind} | {delivery['recipient']} | {delivery['outcome']} | {decision['row']} "
                f"| {describe_sent(decision)} | {describe_stopped(decision)} |"
            )
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def _count(referrals: Sequence[ToldReferral], outcome: str) -> int:
    return sum(delivery["outcome"] == outcome for referral in referrals for delivery in referral.deliveries)
