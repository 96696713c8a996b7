"""Which switch explains how much of the gap between two paths: a fitted model of goodput, with its intervals.

The logarithm of goodput is fitted by ordinary least squares on the path, on whatever else differs between cases, and
on those pairs of them that act together significantly. The gap between a fast and a slow case is then walked one
difference at a time over cases that were measured; where several orders can be walked, a difference counts with its
mean over them (a Shapley value under precedence constraints), so that the parts make up the gap exactly.
"""

from nvbench.attribution.gap import Effect, Explanation, explain

__all__ = ["Effect", "Explanation", "explain"]
