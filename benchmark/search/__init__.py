"""Searches for a rate; pure: they see `measure` and nothing else."""
