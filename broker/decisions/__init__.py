"""Need-to-know decisions: Cedar policies over facts; pure, explainable, reproducible (DESIGN, Decisions).

``load_pack`` reads a policy pack; ``DecisionEngine`` decides. Python here resolves facts and reads annotations, and holds no rule.
"""

from broker.decisions.bundle import bundle_pack, load_bundle
from broker.decisions.clocks import Clock, start_clocks
from broker.decisions.engine import DecisionEngine
from broker.decisions.facts import DecisionFacts
from broker.decisions.pack import DEFAULT_PACK, PolicyPack, load_pack
from broker.decisions.registers import NO_REGISTERS, Approval, Registers

__all__ = [
    "DEFAULT_PACK",
    "NO_REGISTERS",
    "Approval",
    "Clock",
    "DecisionEngine",
    "DecisionFacts",
    "PolicyPack",
    "Registers",
    "bundle_pack",
    "load_bundle",
    "load_pack",
    "start_clocks",
]
