"""Ridge least squares for one layer: rows of inputs x, rows of targets y, weights W (inputs, outputs).

Plain:       min ‖XW − Y‖² + λ‖W − W₀‖²       W = W₀ + (XᵀX + λI)⁻¹ Xᵀ(Y − XW₀),   λ = strength · tr(XᵀX)/d
Rectified:   min Σ (y > 0 ? (xw − y)² : max(0, xw)²) + λ‖W − W₀‖²
             If the target is 0, any value below 0 is right. So the target there is min(0, xw), and the plain problem is
             solved repeatedly. Each round is a step of majorise-minimise on a convex function; extrapolated steps
             (Nesterov's, restarted when they point uphill) need a fraction of the rounds.
Leaky:       slope a: below 0 the target is y/a, and an error there counts a² times, since the output's is a·(xw − y/a).

Weights shrink towards W₀, the weights so far, so that little data changes little.
Sources: Hoerl and Kennard, Ridge Regression (Technometrics 1970); Zhang et al., Accelerating Very Deep Convolutional
Networks (TPAMI 2016), section 3.2, for the ReLU; Beck and Teboulle, FISTA (SIAM J. Imaging 2009); O'Donoghue and
Candès, Adaptive Restart (2015).
"""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 13  # rows in float64 at a time
_LEAST = 1e-10  # the share of each diagonal entry that is always added to it, so that the matrix has an inverse


class Normal:
    """The normal equations of some rows, factored once.

    x: (n, d), float32 or float64; the last column is the constant 1 if `bias` is set. With fewer rows than inputs the
    matrix of the rows is factored: (XᵀX + Λ)⁻¹Xᵀ = Λ⁻¹Xᵀ(XΛ⁻¹Xᵀ + I)⁻¹.
    """

    def __init__(self, x: np.ndarray, strength: float, bias: bool = False):
        self.x = x
        self.few = len(x) < x.shape[1]
        if self.few:
            self.damp = damping(np.square(x, dtype=np.float64).sum(axis=0), strength, bias)
            self._scaled = x / self.damp
            self._inverse = _inverse(self._scaled @ x.T.astype(np.float64) + np.eye(len(x)))
        else:
            moments = gram(x)
            self.damp = damping(np.diag(moments), strength, bias)
            self._inverse = _inverse(moments + np.diag(self.damp))

    def step(self, residual: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """Return the step to the best weights, (XᵀX + Λ)⁻¹(Xᵀ·residual − Λ·offset), float64 (d, m).

        offset: (d, m), the present weights minus W₀. residual: (n, m), what they leave of the target.
        """
        if self.few:
            return self._scaled.T @ (self._inverse @ (residual + self.x @ offset)) - offset
        return self._inverse @ (_transposed_times(self.x, residual) - self.damp[:, None] * offset)

    def price(self, offset: np.ndarray) -> float:
        """Return what shrinking adds to the sum of squares: λ·offset²."""
        return float(np.vdot(self.damp, np.square(offset).sum(axis=1)))


def gram(x: np.ndarray) -> np.ndarray:
    """Return XᵀX (d, d) of x (n, d), summed in float64."""
    total = np.zeros((x.shape[1],) * 2)
    for start in range(0, len(x), CHUNK):
        rows = x[start : start + CHUNK].astype(np.float64)
        total += rows.T @ rows
    return total


def damping(diagonal: np.ndarray, strength: float, bias: bool = False) -> np.ndarray:
    """Return λ for each input (d,): strength times the diagonal's mean; for the constant, times its own entry.

    diagonal: XᵀX's. bias: whether the last input is the constant 1, whose scale says nothing about the others.
    """
    inputs = diagonal[:-1] if bias and len(diagonal) > 1 else diagonal
    mean = max(float(inputs.mean()), 1e-30)
    damp = np.full(len(diagonal), strength * mean)
    if bias:
        damp[-1] = strength * diagonal[-1]
    return damp + _LEAST * np.where(diagonal > 0, diagonal, mean)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Invert a symmetric positive definite matrix, scaled to a diagonal of 1 first, as inputs may differ greatly."""
    scale = 1 / np.sqrt(np.diag(matrix))
    inverse = np.linalg.inv(matrix * scale[:, None] * scale)
    return (inverse + inverse.T) / 2 * scale[:, None] * scale


def _transposed_times(x: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return XᵀR, each chunk of rows in its own type, summed in float64."""
    total = np.zeros((x.shape[1], residual.shape[1]))
    for start in range(0, len(x), CHUNK):
        total += x[start : start + CHUNK].T @ residual[start : start + CHUNK]
    return total


def predict(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return XW (n, m), in x's type, of x (n, d) and weights (d, m) of any type."""
    return x @ weight.astype(x.dtype)


def activated(values: np.ndarray, slope: np.ndarray | None) -> np.ndarray:
    """Apply an activation to values (n, m). slope: (m,), below 0, from 0 to 1; None for no activation."""
    if slope is None:
        return values
    if not slope.any():
        return np.maximum(values, 0)
    return np.where(values > 0, values, values * slope.astype(values.dtype))


class Aim:
    """The target (n, m) after an activation. slope: see `activated`."""

    def __init__(self, target: np.ndarray, slope: np.ndarray | None = None):
        self.target = target
        self.slope = None if slope is None or not slope.any() else slope.astype(target.dtype)
        low = None if slope is None else target <= 0
        self._low = None if self.slope is None else low
        self._floor = None  # of a ReLU's values: below it, all are as good
        if low is not None and self.slope is None:
            self._floor = np.where(low, target, target.dtype.type(-np.inf))

    def residual(self, values: np.ndarray) -> tuple[np.ndarray, float]:
        """Return what the plain problem has to add to values (n, m) before the activation, and the mean square error.

        If the target is above 0, that is y − xw. If it is 0, it is min(0, −xw) for a ReLU; for a leaky one the error is
        y − a·xw, and a times that is added.
        """
        if self.slope is None:
            left = self.target - (values if self._floor is None else np.maximum(values, self._floor))
            return left, _mean_square(left)
        left, leaky = self.target - values, self.target - self.slope * values
        error = np.where(self._low & (self.slope > 0), leaky, np.where(self._low, np.minimum(left, 0), left))
        return np.where(self._low & (self.slope > 0), self.slope * leaky, error), _mean_square(error)


def _mean_square(error: np.ndarray) -> float:
    total = sum(float(np.vdot(error[i : i + 512], error[i : i + 512])) for i in range(0, len(error), 512))
    return total / max(error.size, 1)


def fit(
    normal: Normal,
    target: np.ndarray,
    start: np.ndarray,
    slope: np.ndarray | None = None,
    iterations: int = 20,
    tolerance: float = 1e-4,
) -> np.ndarray:
    """Return the best weights, float64 (d, m).

    Parameters
    ----------
    normal : Normal
        The inputs (n, d).
    target : ndarray, (n, m)
        The output after the activation, in the inputs' type.
    start : ndarray, (d, m)
        W₀.
    slope : ndarray, (m,), optional
        The activation's; see `activated`.
    iterations : int
        The limit with an activation; they end when the error falls by less than `tolerance` of itself.
    """
    aim, weight = Aim(target, slope), start.astype(np.float64)
    values = predict(normal.x, weight)
    left, last = aim.residual(values)
    if slope is None:
        return weight + normal.step(left, np.zeros_like(weight))
    ahead, ahead_values, momentum = weight, values, 1.0
    for _ in range(iterations):
        new = ahead + normal.step(left, ahead - start)
        new_values = predict(normal.x, new)
        new_left, now = aim.residual(new_values)
        now += normal.price(new - start) / target.size
        if now > last and momentum > 1:  # restart from the best so far, without momentum
            ahead, left, momentum = weight, aim.residual(values)[0], 1.0
            continue
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        share = (momentum - 1) / following
        ahead, ahead_values = (
            new + share * (new - weight),
            new_values + new_values.dtype.type(share) * (new_values - values),
        )
        left = aim.residual(ahead_values)[0] if share else new_left
        weight, values, momentum = new, new_values, following
        if last - now <= tolerance * last:
            break
        last = now
    return weight
