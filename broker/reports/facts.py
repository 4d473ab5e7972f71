"""Facts of referrals, deliveries and clocks as reports count them: codes and instants alone, each a row that changes as events come.

Which of them is content? None: the routing header holds no names, birth dates, addresses or free text, and what does not look like a code is counted
as ``other``. Pseudonyms of children are kept apart (``report_subjects``), so that they can be erased while counts stay.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from schemas.codes import Kind

FOLLOW_UPS: Final = frozenset({Kind.UPDATE, Kind.CORRECTION, Kind.OUTCOME, Kind.REQUEST})
"""Kinds that belong to an earlier referral, or ask for one: never counted as a new referral."""
RISK_EXPECTED: Final = frozenset(
    {
        Kind.CP_S47,
        Kind.PPN,
        Kind.MARF,
        Kind.MISSING,
        Kind.DA_MARAC,
        Kind.EXPLOITATION,
        Kind.POLICE_PROTECTION,
        Kind.ONLINE_CSA,
        Kind.RSO_MAPPA,
    }
)
"""Kinds of which a risk assessment is expected (FORMATS CH-23)."""
SERIOUS: Final = frozenset({Kind.CP_S47, Kind.POLICE_PROTECTION})
"""Kinds that say that a child suffers or is likely to suffer significant harm (Children Act 1989 s.46, s.47)."""
NO_ACTION: Final = frozenset({"threshold_not_met"})
"""Refusals that mean no further action."""

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:#/|()+ -]{0,59}")
_SLUG = re.compile(r"[a-z0-9]+([_.:-][a-z0-9]+)*")
_MOST_SLUG: Final = 40


@dataclass(slots=True)
class ReferralFact:
    """One message that was accepted. ``header_known`` is false where its payload was erased before it was counted."""

    message_id: UUID
    referral_id: str
    conversation: str
    sender: str
    kind: str
    accepted_at: datetime
    area: str = "unknown"
    event: str = ""
    """open, update or found, of a missing person."""
    issued_at: datetime | None = None
    supersedes: UUID | None = None
    header_known: bool = False
    grade: str = ""
    tool: str = ""
    assessed_at: datetime | None = None
    review_due_at: datetime | None = None
    incident_at: datetime | None = None
    art6: str = ""
    consent: str = ""
    consent_reason: str = ""
    tell: str = ""
    tell_reason: str = ""
    children: bool = False
    """It is about at least one living child."""
    persons: bool = False
    heard: bool = False
    """The child's words, wishes or demeanour are in it (compartment C06 is there; the hub does not see what it says)."""
    flags: tuple[str, ...] = ()
    routed: str = ""
    """Of an Encompass notice: school, no_school, unmatched or nobody."""
    rso_child: str = ""
    """Of a registered offender's referral: no_child, shared or not_shared with social care, as first decided."""
    repeat: str = ""
    """first, within_3, within_6, within_12, later (months since the last new referral about the same child), or no_token."""
    after_no_action: str = ""
    """Of a serious referral: how long after a recipient refused an earlier one about the same child as below its threshold."""
    reassessed: str = ""
    """Of what follows an earlier message: yes, no or none (no assessment), by whether a newer assessment came with it."""
    embargo_set_at: datetime | None = None
    embargo_due_at: datetime | None = None
    embargo_lifted_at: datetime | None = None
    strategy_due_at: datetime | None = None
    outcome_at: datetime | None = None
    """When a recipient's first OUTCOME message in its conversation was accepted."""

    @property
    def is_new(self) -> bool:
        """Whether it is a referral of its own, not word on an earlier one."""
        return self.kind not in FOLLOW_UPS and self.event != "update"


@dataclass(slots=True)
class DeliveryFact:
    """One delivery. Kind, area, sender and instant are its referral's, so that it can be counted by itself."""

    message_id: UUID
    delivery_id: str
    kind: str
    area: str
    sender: str
    accepted_at: datetime
    recipient: str
    role: str
    purpose: str
    first_outcome: str
    first_row: str
    outcome: str
    row: str
    policy_digest: str = ""
    agreement: str = ""
    detriment: bool = False
    compartments: tuple[tuple[str, str], ...] = ()
    """Compartment and what the first decision said of it: ``sent``, or ``held:D12``, ``withheld:D0``."""
    alerts: tuple[str, ...] = ()
    strategy_due_at: datetime | None = None
    released_at: datetime | None = None
    taken_at: datetime | None = None
    opened_at: datetime | None = None
    actioned_at: datetime | None = None
    refused_at: datetime | None = None
    refusal: str = ""
    outcome_at: datetime | None = None
    hold: str = ""
    """open, released or refused, where a person had to decide."""
    held_at: datetime | None = None
    hold_ended_at: datetime | None = None
    glass: str = ""
    """open or reviewed, where broken glass must be reviewed afterwards."""
    glass_at: datetime | None = None
    glass_ended_at: datetime | None = None
    correction: str = ""
    """by_correction, by_notice or not_told, where the message was corrected after it was delivered."""
    recall: str = ""
    """The reason code of a recall that concerns it."""
    recalled_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def reached(self) -> str:
        """How far it came: ``open`` until its recipient's gateway took it."""
        if self.outcome_at is not None:
            return "outcome"
        if self.refused_at is not None:
            return "refused"
        steps = (("actioned", self.actioned_at), ("opened", self.opened_at), ("taken", self.taken_at))
        return next((name for name, at in steps if at is not None), "open")


@dataclass(slots=True)
class ClockFact:
    """One clock, of one recipient or (empty) of none."""

    message_id: UUID
    clock: str
    recipient: str
    kind: str
    area: str
    accepted_at: datetime
    starts_at: datetime
    due_at: datetime
    state: str = "running"
    """running, paused, met, breached or met_late."""
    breached_at: datetime | None = None
    met_at: datetime | None = None


def keep_code(text: object) -> str:
    """Return a code as it is, ``other`` for what does not look like one, nothing for nothing."""
    if text is None or text == "":
        return ""
    return text if isinstance(text, str) and _CODE.fullmatch(text) else "other"


def keep_slug(text: object) -> str:
    """Return a reason code (lower case, underscores) as it is, ``other`` for what could be free text, nothing for nothing."""
    if text is None or text == "":
        return ""
    return text if isinstance(text, str) and len(text) <= _MOST_SLUG and _SLUG.fullmatch(text) else "other"
