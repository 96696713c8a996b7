"""Ordinary least squares over repeated cases: estimates with intervals, and whether the model fits at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL = 0.05
"""Of every test; intervals hold 1 - LEVEL."""

TINY = 1e-18
"""Sums of squares of logarithms below this, per value, are rounding."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval; infinite ends where there is nothing to tell noise by."""

    value: float
    low: float
    high: float

    @property
    def factor(self) -> tuple[float, float, float]:
        """What it is the logarithm of."""
        return math.exp(self.value), math.exp(self.low), math.exp(self.high)


class Fit:
    """A model of `values`, whose error is judged by repeats and by what the model misses.

    Repeats of a case (equal numbers in `cases`) show pure error. Where the means of cases lie further from the model
    than that explains (F test), either the model lacks something or cases differ from one bring-up to the next; then
    that scatter is the error. Else both are pooled.

    Attributes:
        error: Variance of a value.
        freedom: Degrees of freedom of `error`; 0 where nothing shows it.
        misfit: Probability of so bad a fit by chance where that is below `LEVEL`, else None.
    """

    def __init__(self, design: Floats, values: Floats, cases: Sequence[int]) -> None:
        import numpy as np  # noqa: PLC0415 - slow to import
        from scipy import stats  # noqa: PLC0415

        self._design, self._values = design, values
        self._inverse = np.linalg.pinv(design)
        groups = np.array(cases)
        means = {case: values[groups == case].mean() for case in set(cases)}
        pure = float(((values - np.array([means[case] for case in cases])) ** 2).sum())
        residual = float(((values - design @ self._inverse @ values) ** 2).sum())
        pure, residual = (0.0 if squares < TINY * len(values) else squares for squares in (pure, residual))
        within, between = len(values) - len(means), len(means) - int(np.linalg.matrix_rank(design))
        missed = max(0.0, residual - pure)
        self.misfit: float | None = None
        self.freedom = within + between
        self.error = residual / self.freedom if self.freedom else 0.0
        if within and between and missed:
            chance = float(stats.f.sf(missed / between / (pure / within), between, within)) if pure else 0.0
            if chance < LEVEL:
                self.misfit, self.freedom, self.error = chance, between, missed / between
        self._quantile = float(stats.t.ppf(1 - LEVEL / 2, self.freedom)) if self.freedom else math.inf

    def weights(self, terms: Floats) -> Floats:
        """What each value weighs in a combination of the model's terms."""
        weights: Floats = terms @ self._inverse
        return weights

    def can_tell(self, terms: Floats) -> bool:
        """Whether the cases determine a combination of the model's terms."""
        return bool(abs(self.weights(terms) @ self._design - terms).max() < 1e-6)

    def estimate(self, weights: Floats) -> Estimate:
        """A weighted sum of the values."""
        value = float(weights @ self._values)
        margin = self._quantile * self._deviation(weights) if self.freedom else math.inf
        return Estimate(value, value - margin, value + margin)

    def ratio(self, upper: Floats, lower: Floats) -> Estimate:
        """The ratio of two weighted sums, with Fieller's interval: unbounded where the lower one may be nothing."""
        above, below = float(upper @ self._values), float(lower @ self._values)
        value = above / below if below else math.nan
        if not self.freedom:
            return Estimate(value, -math.inf, math.inf)
        spread = self._quantile**2 * self.error
        square = below**2 - spread * float(lower @ lower)
        if square <= 0:
            return Estimate(value, -math.inf, math.inf)
        middle = above * below - spread * float(upper @ lower)
        root = math.sqrt(max(0.0, middle**2 - square * (above**2 - spread * float(upper @ upper))))
        return Estimate(value, (middle - root) / square, (middle + root) / square)

    def chance(self, terms: Floats) -> float:
        """Probability of so large a combination of terms if there were none (two-sided t test)."""
        from scipy import stats  # noqa: PLC0415

        weights = self.weights(terms)
        value, deviation = float(weights @ self._values), self._deviation(weights)
        if not self.freedom or abs(value) < 1e-9:
            return 1.0
        return float(2 * stats.t.sf(abs(value) / deviation, self.freedom)) if deviation else 0.0

    def _deviation(self, weights: Floats) -> float:
        return math.sqrt(self.error * float(weights @ weights))


def significant(design: Floats, values: Floats, cases: Sequence[int], certain: int) -> list[int]:
    """Which columns after the first `certain` ones a model needs: those whose t test holds after Holm's correction.

    Columns that the cases cannot tell apart from earlier ones are not considered.
    """
    import numpy as np  # noqa: PLC0415

    columns, rank = list(range(certain)), int(np.linalg.matrix_rank(design[:, :certain]))
    candidates: list[int] = []
    distinct = np.unique(design, axis=0)
    for column in range(certain, design.shape[1]):
        if np.linalg.matrix_rank(distinct[:, [*columns, column]]) > rank:
            rank += 1
            columns.append(column)
            candidates.append(column)
    full = Fit(design[:, columns], values, cases)
    chances = sorted((full.chance(np.eye(len(columns))[columns.index(column)]), column) for column in candidates)
    kept: list[int] = []
    for place, (chance, column) in enumerate(chances):
        if chance > LEVEL / (len(chances) - place):
            break
        kept.append(column)
    return sorted(kept)


def unevenness(one: Sequence[float], other: Sequence[float]) -> float | None:
    """How many times as much as `one` the `other` scatters around zero, where that is no chance (Levene's test)."""
    from scipy import stats  # noqa: PLC0415

    if min(len(one), len(other)) < 3 or not any(one):
        return None
    chance = float(stats.levene(one, other).pvalue)
    scatters = [math.sqrt(sum(value**2 for value in values) / len(values)) for values in (one, other)]
    return scatters[1] / scatters[0] if chance < LEVEL / 5 else None
