"""Two sets of runs side by side: what improved, what regressed, what is within noise, and what else differed."""

from nvbench.comparison.base import Change, Comparison, Difference, Observation, Side, Verdict
from nvbench.comparison.sides import compare
from nvbench.comparison.verdicts import Correction, Criteria

__all__ = [
    "Change",
    "Comparison",
    "Correction",
    "Criteria",
    "Difference",
    "Observation",
    "Side",
    "Verdict",
    "compare",
]
