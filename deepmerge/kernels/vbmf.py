"""The rank of a noisy matrix, by empirical variational Bayesian matrix factorization.

The model is V = B A^T + noise, V of shape (L, M) with L <= M, Gaussian priors on A and B whose variances
are learnt, Gaussian noise of variance sigma2. Its variational solution is known in closed form: it keeps
V's singular vectors, and a singular value survives if, and only if, keeping it lowers the free energy.
With alpha = L/M, x = value^2 / (M sigma2) and

    tau(x) = (x - (1 + alpha) + sqrt((x - (1 + alpha))^2 - 4 alpha)) / 2,    x = (1 + tau)(1 + alpha/tau)

keeping a value changes the free energy, in units of M/2, by

    gain(tau) = log(1 + tau) + alpha log(1 + tau/alpha) - tau

which is below 0 for every tau above gain's one positive root, and so for every x above one threshold.

Source: Nakajima, Sugiyama, Babacan, Tomioka: Global Analytic Solution of Fully-observed Variational
Bayesian Matrix Factorization, JMLR 14 (2013); the bounds of the noise variance: Nakajima, Tomioka,
Sugiyama, Babacan: Condition for Perfect Dimensionality Recovery by Variational Bayesian PCA, JMLR 16 (2015).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from deepmerge.errors import PassError

# Points of the search for the noise variance before it is refined: the free energy has a kink wherever a
# value crosses the threshold, so that a descent from one end alone can stop in a local minimum.
GRID_POINTS = 256
GOLDEN_STEPS = 60
GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0

# The least noise variance, as a share of the mean square of the matrix: what rounding to float32 leaves.
# Without it the free energy of a matrix of exactly low rank has no minimum.
NOISE_FLOOR = 2.0**-50


def checked(weight: np.ndarray, axes: int) -> np.ndarray:
    """Return `weight` in float64, its memory in C order, so that its order in memory changes no result.

    Raises ValueError for another number of axes, PassError for a NaN or an infinity.
    """
    weight = np.ascontiguousarray(weight, dtype=np.float64)
    if weight.ndim != axes:
        raise ValueError(f"expected an array of {axes} axes, found shape {weight.shape}")
    if not np.all(np.isfinite(weight)):
        raise PassError("the weights hold a NaN or an infinity: they cannot be decomposed")
    return weight


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """Return the min(shape) singular values of `matrix` (rows, columns), falling, float64.

    They are the roots of the eigenvalues of the smaller Gram matrix: many times cheaper than an SVD, but not
    accurate below about 1e-7 of the greatest value, where the rounding of float32 weights begins. Smaller values are
    returned as 0. Raises what `checked` raises.
    """
    matrix = checked(matrix, 2)
    if matrix.size == 0:
        return np.zeros(0)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    squares = np.linalg.eigvalsh(gram)[::-1]
    squares = np.where(squares > squares[0] * squares.size * np.finfo(np.float64).eps, squares, 0.0)
    return np.sqrt(squares)


def evbmf_rank(matrix: np.ndarray) -> int:
    """Return the rank of `matrix` (rows, columns) above its noise; 0 if all of it looks like noise.

    The result does not depend on the matrix's scale, nor on which axis is longer. It is 0 for a matrix of one row or
    one column, in which noise cannot be distinguished. The caller sets a floor.

    Raises ValueError for anything except a matrix, PassError for a NaN or an infinity in it.
    """
    return evbmf_rank_of_values(singular_values(matrix), np.shape(matrix))


def evbmf_rank_of_values(values: np.ndarray, shape: tuple[int, int], noise_variance: float | None = None) -> int:
    """Return `evbmf_rank` of a matrix of `shape` from its min(shape) singular values.

    noise_variance: of one entry; None: estimated from the values.
    """
    short, long = min(shape), max(shape)
    squares = _squares(values, short)
    if squares.size == 0 or squares[0] == 0.0:
        return 0
    if noise_variance is None:
        noise_variance = evbmf_noise_variance(values, shape)
    return int(np.count_nonzero(squares > long * noise_variance * threshold(short / long)))


def evbmf_noise_variance(values: np.ndarray, shape: tuple[int, int]) -> float:
    """Return the variance of one entry's noise that minimises the free energy (0.0 for a zero matrix).

    values: the min(shape) singular values. Within the bounds of JMLR 16 (2015), theorem 2: a grid
    first, then a golden section around its best point; deterministic.
    """
    short, long = min(shape), max(shape)
    squares = _squares(values, short)
    scale = float(squares[0]) if squares.size else 0.0
    if scale == 0.0:
        return 0.0
    # In units of the greatest square, so that neither tiny nor huge weights leave float64's range.
    squares = squares / scale
    alpha = short / long
    lower, upper = _noise_bounds(squares, long, alpha)
    if lower >= upper:
        return upper * scale
    grid = np.linspace(math.log(lower), math.log(upper), GRID_POINTS)
    energies = _free_energy(grid, squares, long, alpha)
    best = int(np.argmin(energies))
    left, right = grid[max(best - 1, 0)], grid[min(best + 1, GRID_POINTS - 1)]
    point, energy = _golden_section(left, right, squares, long, alpha)
    return math.exp(point if energy < energies[best] else grid[best]) * scale


@lru_cache(maxsize=256)
def threshold(alpha: float) -> float:
    """Return the least x = value^2 / (M sigma2) that survives, for alpha = L/M in (0, 1]."""
    tau = _gain_root(alpha)
    return (1.0 + tau) * (1.0 + alpha / tau)


def _gain_root(alpha: float) -> float:
    """Return the positive root of gain(tau), which is concave, 0 at 0, first rises and then falls."""
    tau = 3.0 * math.sqrt(alpha)
    while _gain(tau, alpha) > 0.0:
        tau *= 2.0
    # To the right of the root of a concave, falling function, Newton's steps approach it from one side.
    for _ in range(100):
        slope = 1.0 / (1.0 + tau) + alpha / (alpha + tau) - 1.0
        following = tau - _gain(tau, alpha) / slope
        if not following < tau:
            break
        tau = following
    return float(tau)


def _gain(tau, alpha: float):
    return np.log1p(tau) + alpha * np.log1p(tau / alpha) - tau


def _squares(values: np.ndarray, count: int) -> np.ndarray:
    values = np.sort(np.asarray(values, dtype=np.float64))[::-1]
    if values.shape != (count,) or not np.all(np.isfinite(values)):
        raise ValueError(f"expected {count} finite singular values, found an array of shape {values.shape}")
    return values**2


def _noise_bounds(squares: np.ndarray, long: int, alpha: float) -> tuple[float, float]:
    """Return the bounds: at most `first` values survive, so that the ones after it are noise; all may be noise."""
    short = squares.size
    first = min(math.ceil(short / (1.0 + alpha)) - 1, short - 1)
    upper = float(np.mean(squares)) / long
    lower = max(
        float(squares[first]) / (long * threshold(alpha)),
        float(np.mean(squares[first:])) / long,
        upper * NOISE_FLOOR,
    )
    return lower, upper


def _free_energy(log_variance: np.ndarray, squares: np.ndarray, long: int, alpha: float) -> np.ndarray:
    """Return the free energy, in units of M/2 and up to a constant, at each logarithm of the noise variance."""
    log_variance = np.atleast_1d(log_variance)
    x = squares[None, :] / (long * np.exp(log_variance)[:, None])
    excess = np.maximum(x - (1.0 + alpha), 2.0 * math.sqrt(alpha))
    tau = (excess + np.sqrt(np.maximum(excess**2 - 4.0 * alpha, 0.0))) / 2.0
    kept = np.where(x > threshold(alpha), _gain(tau, alpha), 0.0)
    return squares.size * log_variance + np.sum(x + kept, axis=1)


def _golden_section(left: float, right: float, squares: np.ndarray, long: int, alpha: float) -> tuple[float, float]:
    def energy(point: float) -> float:
        return float(_free_energy(np.array([point]), squares, long, alpha)[0])

    low, high = right - GOLDEN * (right - left), left + GOLDEN * (right - left)
    energy_low, energy_high = energy(low), energy(high)
    for _ in range(GOLDEN_STEPS):
        if energy_low <= energy_high:
            right, high, energy_high = high, low, energy_low
            low = right - GOLDEN * (right - left)
            energy_low = energy(low)
        else:
            left, low, energy_low = low, high, energy_high
            high = left + GOLDEN * (right - left)
            energy_high = energy(high)
    return (low, energy_low) if energy_low <= energy_high else (high, energy_high)
