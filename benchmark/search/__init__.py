"""Searches for a rate; pure: they see `measure` and nothing else."""

from nvbench.search.base import Answer, Goal, Limits, Outcome
from nvbench.search.throughput import search

__all__ = ["Answer", "Goal", "Limits", "Outcome", "search"]
