"""Where the frames of a trial went, and what was saturated, told from the samples that were taken beside it."""

from nvbench.diagnosis.case import Diagnosis, diagnose
from nvbench.diagnosis.difference import Contrast, Shift, contrast
from nvbench.diagnosis.evidence import Evidence
from nvbench.diagnosis.findings import Cause, Finding
from nvbench.diagnosis.hops import Drop, Hop, Ledger
from nvbench.diagnosis.saturation import Load

__all__ = [
    "Cause",
    "Contrast",
    "Diagnosis",
    "Drop",
    "Evidence",
    "Finding",
    "Hop",
    "Ledger",
    "Load",
    "Shift",
    "contrast",
    "diagnose",
]
