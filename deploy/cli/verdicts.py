"""Decisions as lines for people: compartments that share a verdict stand on one line, so that what differs is seen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from schemas.codes import name_clock


def describe_decision(decision: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of one decision record: who, the outcome and its reason, then each verdict with its compartments."""
    yield (
        f"{decision.get('deliver_to') or decision['recipient']} ({decision['role']}, {decision['purpose']}): "
        f"{decision['outcome']}, {decision['row']}. {decision['reason']}"
    )
    yield from describe_verdicts(decision)


def describe_verdicts(decision: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each verdict. The reason is left out where it is the whole decision's."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for code, found in decision.get("compartments", {}).items():
        groups.setdefault((found["result"], found["row"], found.get("reason") or ""), []).append(code)
    for (result, row, reason), codes in groups.items():
        why = "" if reason == decision.get("reason") else f"  {reason}"
        yield f"  {result:<9} {row:<4} {' '.join(codes)}{why}"


def describe_referral(view: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of what a sender sees of one referral: state, deliveries with receipts, clocks."""
    urgent = ", urgent" if view.get("urgent") else ""
    yield f"{view['referral_id']}: {view['kind']}{urgent}, {view['state']} since {show_minute(view['changed_at'])}"
    if view.get("reason"):
        yield f"  reason: {view['reason']}"
    for alarm in view.get("alarms", ()):
        yield f"  alarm: {alarm['code']}"
    for delivery in view["deliveries"]:
        decision = delivery.get("decision") or {}
        if not decision:
            yield f"  {delivery['recipient']} ({delivery['role']}): {delivery['outcome']}"
            continue
        for line in describe_decision(decision):
            yield f"  {line}"
        receipt = delivery.get("receipt")
        told = f"{receipt['state']} {show_minute(receipt['at'])}" if receipt else "none yet"
        yield f"    receipt   {told}, delivery {delivery['delivery_id']}"
        if delivery.get("recalled"):
            yield f"    recalled  {show_minute(delivery['recalled'])}, {_tell_deletion(delivery)}"
    for clock in view.get("clocks", ()):
        who = f" ({', '.join(clock['recipients'])})" if clock.get("recipients") else ""
        yield f"  clock {clock['clock']}{who}: {clock['state']}, due {show_minute(clock['due_at'])}. {name_clock(clock['clock'])}; {clock['assumption']}"


def _tell_deletion(delivery: dict[str, Any]) -> str:
    if delivery.get("deleted"):
        return f"deletion confirmed {show_minute(delivery['deleted'])}"
    return f"kept for {delivery['kept_for']}" if delivery.get("kept_for") else "deletion not confirmed yet"


def describe_list(referrals: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each referral that somebody may have to look at, newest first, then how many are in each state."""
    for item in referrals:
        if item["state"] != "done" or item["alarm"]:
            urgent = "urgent" if item["urgent"] else ""
            line = f"{item['referral_id']}  {item['state']:<10} {item['kind']:<16} {urgent:<6}  {item['alarm'] or ''}"
            yield line.rstrip()
    counts = Counter(item["state"] for item in referrals)
    alarms = sum(item["alarm"] is not None for item in referrals)
    told = [f"{count} {state}" for state, count in sorted(counts.items())]
    yield ", ".join([*told, f"{alarms} with an alarm"] if alarms else told) or "nothing sent yet"


def show_minute(instant: str | datetime | None) -> str:
    """Return an instant to the minute, in UTC; an RFC 3339 text is one too."""
    if not instant:
        return "unknown"
    at = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
