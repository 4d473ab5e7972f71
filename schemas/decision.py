"""The result of a need-to-know decision, for one delivery: shared by the hub's plan, its log and the gateways."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from schemas.codes import Compartment, CompartmentResult, DeliveryOutcome, Form

SENT = frozenset({CompartmentResult.FULL, CompartmentResult.SUMMARY, CompartmentResult.POINTER})
_FORM_OF = {result: Form(result.value) for result in SENT}


class CompartmentDecision(BaseModel):
    """What happens to one compartment, the row that says so, and the policy that said it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: CompartmentResult
    row: str
    policy: str = ""
    """Id of the deciding policy in the pack (``@id``)."""
    reason: str = ""
    """One plain sentence for people (``@reason``)."""
    authority: str = ""
    """The law or agreement (``@authority``)."""

    @property
    def form(self) -> Form | None:
        """The form that goes, or none."""
        return _FORM_OF.get(self.result)


class Decision(BaseModel):
    """One delivery's decision: outcome, row, reason, and each compartment (FORMATS 2.1). Re-running it gives the same answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    delivery_id: str = ""
    recipient: str
    role: str
    purpose: str
    outcome: DeliveryOutcome
    row: str
    policy: str = ""
    reason: str = ""
    authority: str = ""
    told: str | None = None
    """What the recipient is told in place of row, reason and authority (``@told``): these would say what it may not know."""
    deliver_to: str | None = None
    """``agency#contact`` where one contact is named."""
    queue: bool = False
    """A person must act within the queue limit."""
    agreement: str | None = None
    alerts: tuple[str, ...] = ()
    emits: tuple[str, ...] = ()
    retrospective_review: bool = False
    compartments: dict[Compartment, CompartmentDecision]
    subjects: tuple[str, ...] = ()
    """Ids of the subjects whose sections this recipient may have (a school or practice: its own children only)."""
    policy_digest: str = ""
    inputs_digest: str = ""
    decided_at: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    """Earliest instant at which a time-derived fact changes; none if nothing in it changes with time."""

    def permitted_forms(self) -> dict[Compartment, Form]:
        """Return the compartments that go and the form in which each goes."""
        return {c: d.form for c, d in self.compartments.items() if d.form is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form used in plans and decision records."""
        return self.model_dump(mode="json", exclude_none=True)
