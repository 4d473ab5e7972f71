"""Which executable data-sharing agreement covers a delivery, and in which state it is (FORMATS CH-17)."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from schemas.directory import Agreement, Directory

IN_FORCE = "in_force"
EXPIRED = "expired"
NOT_STARTED = "not_started"
NONE = "none"


@dataclass(frozen=True, slots=True)
class AgreementState:
    """State of the best agreement for a delivery; ``changes_at`` are the instants at which states of candidates change."""

    state: str
    id: str | None = None
    review_overdue: bool = False
    changes_at: tuple[datetime, ...] = ()


def find_agreement(
    directory: Directory, parties: tuple[str, str], kind: str, purpose: str, now: datetime
) -> AgreementState:
    """Return the agreement to which both ``parties`` are, for ``kind`` and ``purpose``, on the local date of ``now``.

    One in force is preferred, one whose review is not overdue before others; then an expired one, then one that has not started.
    """
    zone = ZoneInfo(directory.partnership.timezone)
    today = now.astimezone(zone).date()
    candidates = [
        a for a in directory.agreements if kind in a.kinds and purpose in a.purposes and set(parties) <= set(a.parties)
    ]
    if not candidates:
        return AgreementState(NONE)
    best = min(candidates, key=lambda a: (_ORDER[_state_on(a, today)], _is_overdue(a, today)))
    instants = tuple(_midnight(day, zone) for a in candidates for day in _turning_days(a))
    return AgreementState(_state_on(best, today), best.id, _is_overdue(best, today), instants)


_ORDER = {IN_FORCE: 0, EXPIRED: 1, NOT_STARTED: 2}


def _state_on(agreement: Agreement, today: date) -> str:
    if today < agreement.starts_on:
        return NOT_STARTED
    return IN_FORCE if today <= agreement.ends_on else EXPIRED


def _is_overdue(agreement: Agreement, today: date) -> bool:
    return agreement.review_on is not None and agreement.review_on < today


def _turning_days(agreement: Agreement) -> list[date]:
    days = [agreement.starts_on, agreement.ends_on + timedelta(days=1)]
    if agreement.review_on is not None:
        days.append(agreement.review_on + timedelta(days=1))
    return days


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(0), tzinfo=zone)
