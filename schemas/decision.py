"""The result of a need-to-know decision, for one delivery: shared by the hub's plan, its log and the gateways."""

from functools import cached_property
from typing import Annotated, Any

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidatorFunctionWrapHandler, WrapValidator

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


class Verdicts(dict[Compartment, CompartmentDecision]):
    """What happens to each compartment. It is never changed, so that what follows from it is worked out once for all decisions that share it."""

    @cached_property
    def forms(self) -> dict[Compartment, Form]:
        """The compartments that go, and the form in which each goes."""
        return {compartment: d.form for compartment, d in self.items() if d.form is not None}

    @cached_property
    def results(self) -> dict[str, str]:
        """Compartment to result and row, in the order of the compartments."""
        return {compartment.value: f"{d.result.value} {d.row}" for compartment, d in sorted(self.items())}

    @cached_property
    def json(self) -> orjson.Fragment:
        """The JSON form, written."""
        return orjson.Fragment(orjson.dumps({c.value: d.model_dump(mode="json") for c, d in self.items()}))

    @cached_property
    def told(self) -> dict[str, dict[str, str]]:
        """Compartment to what the sender is told of it."""
        return {
            compartment.value: {"result": d.result.value, "row": d.row, "reason": d.reason}
            for compartment, d in self.items()
        }


def _share(value: Any, validate: ValidatorFunctionWrapHandler) -> Verdicts:
    return value if type(value) is Verdicts else Verdicts(validate(value))


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
    compartments: Annotated[dict[Compartment, CompartmentDecision], WrapValidator(_share)]
    subjects: tuple[str, ...] = ()
    """Ids of the subjects whose sections this recipient may have (a school or practice: its own children only)."""
    policy_digest: str = ""
    inputs_digest: str = ""
    decided_at: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None
    """Earliest instant at which a time-derived fact changes; none if nothing in it changes with time."""

    @property
    def verdicts(self) -> Verdicts:
        """``compartments`` with what follows from them."""
        return self.compartments if isinstance(self.compartments, Verdicts) else Verdicts(self.compartments)

    def permitted_forms(self) -> dict[Compartment, Form]:
        """Return the compartments that go and the form in which each goes."""
        return self.verdicts.forms

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form used in plans and decision records."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_json_text(self) -> str:
        """Return ``to_json`` written, with the compartments that were written before."""
        members = {name: value for name, value in self.__dict__.items() if value is not None}
        members["compartments"] = self.verdicts.json
        return orjson.dumps(members, option=orjson.OPT_UTC_Z).decode()
