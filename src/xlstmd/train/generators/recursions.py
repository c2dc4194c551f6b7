"""Linear recursions over time without a loop over time.

`y[t] = x[t] + c y[t-1]` is a sum of powers of `c`; doubling the reach at each pass computes it in
log2(length) whole-array operations, every row with a coefficient of its own.
"""

import numpy as np

from xlstmd.train.generators.rows import Integers, Rows

_NEGLIGIBLE = 1e-7


def first_order(rows: Rows, coefficient: Rows) -> Rows:
    """Computes `y[t] = x[t] + c y[t-1]`, starting from zero.

    Args:
      rows: x [count, length].
      coefficient: c [count, 1], absolute value at most 1.
    """
    out = rows.copy()
    power, lag = coefficient, 1
    while lag < rows.shape[1] and np.abs(power).max(initial=0.0) > _NEGLIGIBLE:
        out[:, lag:] += power * out[:, :-lag]
        power, lag = power * power, 2 * lag
    return out


def second_order(rows: Rows, radius: Rows, angle: Rows) -> Rows:
    """Computes `y[t] = x[t] + 2 r cos(a) y[t-1] - r^2 y[t-2]`, starting from zero.

    Args:
      rows: x [count, length].
      radius: r [count, 1], below 1.
      angle: a [count, 1] in radians, strictly between 0 and pi.
    """
    root = radius * np.exp(1j * angle)
    out = rows.astype(np.complex128)
    power, lag = root, 1
    while lag < rows.shape[1] and np.abs(power).max(initial=0.0) > _NEGLIGIBLE:
        out[:, lag:] += power * out[:, :-lag]
        power, lag = power * power, 2 * lag
    # The impulse response of the pair is r^k sin((k+1) a) / sin(a), from the root to the k+1.
    real: Rows = np.imag(root * out) / (radius * np.sin(angle))
    return real


def seasonal(rows: Rows, lags: Integers, coefficient: Rows) -> Rows:
    """Computes `y[t] = x[t] + c y[t-lag]` with a lag per row, starting from zero.

    Args:
      rows: x [count, length].
      lags: [count]; 0 leaves the row as it is.
      coefficient: c [count, 1], absolute value at most 1.
    """
    out = rows.copy()
    length = rows.shape[1]
    for lag in np.unique(lags[lags > 0]):
        chosen = np.flatnonzero(lags == lag)
        cycles = -(-length // int(lag))
        padded = np.zeros((chosen.size, cycles * int(lag)))
        padded[:, :length] = rows[chosen]
        stacked = padded.reshape(chosen.size, cycles, int(lag))
        power, reach = coefficient[chosen][:, :, None], 1
        while reach < cycles:
            stacked[:, reach:] += power * stacked[:, :-reach]
            power, reach = power * power, 2 * reach
        out[chosen] = padded[:, :length]
    return out


def delayed(rows: Rows, lags: Integers) -> Rows:
    """Gives `x[t-lag]` with a lag per row, zero before the start."""
    out = np.zeros_like(rows)
    for lag in np.unique(lags):
        chosen = lags == lag
        if lag == 0:
            out[chosen] = rows[chosen]
        elif lag < rows.shape[1]:
            out[chosen, lag:] = rows[chosen, :-lag]
    return out
