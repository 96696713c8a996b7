"""nvbench: profile-driven benchmarking of network virtualisation."""

__version__ = "0.1.0"
