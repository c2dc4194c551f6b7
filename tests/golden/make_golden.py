"""Writes the golden numbers of the operations: NumPy in float64, straight from the equations.

Nothing of xlstmd is imported. The memories are kept in their own units, without a stabilizer; that
is only brought in at the end, as the scale of the states that the package hands out. Gradients are
complex steps: the imaginary part of f(x + ih) / h, exact to rounding. Run it from this folder:

    python make_golden.py
"""

from pathlib import Path

import numpy as np

STEP = 1e-30
B, H, T = 2, 2, 6


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def larger(x, y):
    """Maximum by real part: both branches are analytic, np.maximum is not."""
    return np.where(x.real >= y.real, x, y)


def absolute(x):
    return np.where(x.real >= 0.0, x, -x)


def mlstm(q, k, v, i_preact, f_preact, C0, n0, m0, *, reset, eps, start, cap):
    """Equations 19-27 of arXiv:2405.04517, row by row and head by head."""
    bound = (lambda x: x) if cap is None else (lambda x: cap * np.tanh(x / cap))
    i_preact, f_preact = bound(i_preact), bound(f_preact)
    K, V = q.shape[-1], v.shape[-1]
    kind = np.result_type(q, k, v, i_preact, f_preact, C0, n0, m0)
    h = np.zeros((B, H, T, V), dtype=kind)
    C_end, n_end = np.zeros((B, H, K, V), dtype=kind), np.zeros((B, H, K), dtype=kind)
    m_end = np.zeros((B, H), dtype=kind)
    for b in range(B):
        for head in range(H):
            m = m0[b, head]
            C, n = C0[b, head] * np.exp(m), n0[b, head] * np.exp(m)
            for t in range(T):
                if reset[b, t]:
                    C, n, m = 0.0 * C, 0.0 * n, np.asarray(start)
                log_f = np.log(sigmoid(f_preact[b, head, t]))
                i, f = np.exp(i_preact[b, head, t]), np.exp(log_f)
                m = larger(m + log_f, i_preact[b, head, t])
                C = f * C + i * np.outer(k[b, head, t], v[b, head, t])
                n = f * n + i * k[b, head, t]
                query = q[b, head, t] / np.sqrt(K)
                size = larger(absolute(n @ query), np.asarray(1.0)) + eps * np.exp(m)
                h[b, head, t] = (query @ C) / size
            C_end[b, head], n_end[b, head], m_end[b, head] = C * np.exp(-m), n * np.exp(-m), m
    return h, C_end, n_end, m_end


def slstm(preacts, R, h0, c0, n0, m0, *, reset, start, forget, cap):
    """Equations 8-18 of arXiv:2405.04517; gates in the order input, forget, cell input, output."""
    bound = (lambda x: x) if cap is None else (lambda x: cap * np.tanh(x / cap))
    h, m = h0, m0
    c, n = c0 * np.exp(m0), n0 * np.exp(m0)
    outputs = []
    for t in range(T):
        row = reset[:, t, None, None]
        h, c, n, m = (np.where(row, 0.0, x) for x in (h, c, n, m))
        m = np.where(row, start, m)
        recurrent = np.einsum("bhd,hdge->bghe", h, R)
        i, f, z, o = np.moveaxis(preacts[:, t] + recurrent, 1, 0)
        i, f = bound(i), bound(f)
        log_f = np.log(sigmoid(f)) if forget == "sigmoid" else f
        m = larger(m + log_f, i)
        c = np.exp(log_f) * c + np.exp(i) * np.tanh(z)
        n = np.exp(log_f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        outputs.append(h)
    return np.stack(outputs, axis=1), h, c * np.exp(-m), n * np.exp(-m), m


def conv(x, weight, bias, window, *, reset):
    """A weighted sum of the last inputs of the same segment."""
    W = weight.shape[1]
    y = []
    for t in range(T):
        window = np.where(reset[:, t, None, None], 0.0, window)
        seen = np.concatenate([window, x[:, t, None]], axis=1)
        y.append(sum(seen[:, j] * weight[:, j] for j in range(W)) + bias)
        window = seen[:, 1:]
    return np.stack(y, axis=1), window


def slopes(function, arguments, readouts):
    """Gives d(sum of readout * result) / d(argument) for every number of every argument."""
    found = []
    for place, argument in enumerate(arguments):
        gradient = np.zeros(argument.shape)
        for index in np.ndindex(argument.shape):
            moved = argument.astype(complex)
            moved[index] += 1j * STEP
            results = function(*arguments[:place], moved, *arguments[place + 1 :])
            total = sum((r * x).sum() for r, x in zip(readouts, results, strict=True))
            gradient[index] = total.imag / STEP
        found.append(gradient)
    return found


def record(file, rng, function, names, arguments, fields, reset):
    """Writes inputs, results and slopes of one problem."""
    results = function(*arguments)
    readouts = [rng.normal(size=x.shape) for x in results]
    content = {f"in_{name}": x for name, x in zip(names, arguments, strict=True)}
    content |= {f"out_{name}": x for name, x in zip(fields, results, strict=True)}
    content |= {f"readout_{name}": x for name, x in zip(fields, readouts, strict=True)}
    found = slopes(function, arguments, readouts)
    content |= {f"grad_{name}": x for name, x in zip(names, found, strict=True)}
    np.savez(file, reset=reset, **content)


def draw_mlstm(rng, K, V):
    shapes = [(B, H, T, K), (B, H, T, K), (B, H, T, V), (B, H, T), (B, H, T)]
    return [rng.normal(size=s) for s in [*shapes, (B, H, K, V), (B, H, K), (B, H)]]


def draw_slstm(rng, D):
    arguments = [rng.normal(size=(B, T, 4, H, D)), 0.5 * rng.normal(size=(H, D, 4, D))]
    arguments += [rng.normal(size=(B, H, D)) for _ in range(4)]
    arguments[4] = 1.0 + np.abs(arguments[4])
    return arguments


def main(folder):
    """Writes all files into a folder."""
    rng = np.random.default_rng(20240508)
    reset = np.zeros((B, T), dtype=bool)
    reset[0, 2] = reset[1, 4] = True
    names = ["q", "k", "v", "i", "f", "matrix_memory", "normalizer", "stabilizer"]
    fields = ["output", "matrix_memory", "normalizer", "stabilizer"]
    kinds = {
        "ours": {"eps": 0.0, "start": -1e30, "cap": None},
        "imported": {"eps": 1e-6, "start": 0.0, "cap": 15.0},
    }
    for kind, options in kinds.items():

        def run_mlstm(*arguments, options=options):
            return mlstm(*arguments, reset=reset, **options)

        file = folder / f"mlstm_{kind}.npz"
        record(file, rng, run_mlstm, names, draw_mlstm(rng, 3, 4), fields, reset)
    names = ["preacts", "recurrent", "hidden", "cell", "normalizer", "stabilizer"]
    fields = ["output", "hidden", "cell", "normalizer", "stabilizer"]
    for forget, cap in (("sigmoid", None), ("exp", None), ("sigmoid", 1.5)):

        def run_slstm(*arguments, forget=forget, cap=cap):
            return slstm(*arguments, reset=reset, start=-1e30, forget=forget, cap=cap)

        file = folder / f"slstm_{forget}{'' if cap is None else '_capped'}.npz"
        record(file, rng, run_slstm, names, draw_slstm(rng, 3), fields, reset)
    shapes = [(B, T, 3), (3, 4), (3,), (B, 3, 3)]
    record(
        folder / "conv.npz",
        rng,
        lambda *arguments: conv(*arguments, reset=reset),
        ["x", "weight", "bias", "window"],
        [rng.normal(size=s) for s in shapes],
        ["output", "window"],
        reset,
    )


if __name__ == "__main__":
    main(Path(__file__).parent)
