"""Whether an agency may ask another for information: policy decides, as for a referral of that kind (DOMAIN section 5, D11)."""

from broker.decisions import NO_REGISTERS
from broker.intake.referrals import DecisionContext
from schemas.codes import Art6, Compartment, DeliveryOutcome, TellValue
from schemas.errors import NotPermitted
from schemas.header import CaseFacts, DeliveryRequest, LawfulBasis, PolicyFacts, RiskFacts, RoutingHeader, TellStatus
from schemas.objects.correspondence import Request

REQUEST_KIND = "REQUEST"


def decide_request(request: Request, context: DecisionContext) -> None:
    """Have policy decide whether this agency may ask: a statutory task, an agreement in force, a purpose that is not forbidden (DOMAIN D11, D0).

    Raises:
        NotPermitted: it may not; the policy's own reason says why.
    """
    recipient = context.snapshot.directory.find_agency(request.recipient)
    header = RoutingHeader(
        case=CaseFacts(kind=REQUEST_KIND, area=recipient.area if recipient else "unknown"),
        risk=RiskFacts(),
        lawful_basis=LawfulBasis(art6=Art6.LEGAL_OBLIGATION),
        policy=PolicyFacts(
            tell_status=TellStatus(value=TellValue.TELL),
            compartments=(Compartment.C01,),
            statutory_task=request.statutory_task,
        ),
        subjects=(),
        deliveries=(
            DeliveryRequest(
                delivery_id=request.request_id,
                agency=request.recipient,
                role=recipient.roles[0] if recipient and recipient.roles else "unknown",
                purpose=request.purpose,
            ),
        ),
    )
    (decision,) = context.decider.decide_all(header, sender=request.requester, registers=NO_REGISTERS, now=context.now)
    if decision.outcome is not DeliveryOutcome.DELIVERED:
        raise NotPermitted(decision.reason or "policy does not permit this request", field="request")
