"""nvbench: profile-driven benchmarking of network virtualisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvbench.reading import open_results as open_results

__version__ = "0.1.0"
__all__ = ["__version__", "open_results"]


def __getattr__(name: str) -> Any:
    if name == "open_results":
        from nvbench.reading import open_results  # noqa: PLC0415 - only a reader needs it

        return open_results
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
