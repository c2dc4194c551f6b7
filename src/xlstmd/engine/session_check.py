"""What an `AppendTask` must be, whoever makes it."""

import math

import numpy as np

from xlstmd.engine.session_tasks import AppendTask
from xlstmd.engine.tasks import check_levels
from xlstmd.errors import InputError, ShapeError
from xlstmd.models.points import check_points


def check_append(task: AppendTask) -> None:
    """Refuses what no session could take.

    Raises:
      InputError: points are infinite, a number is out of its range, or fields do not go together.
    """
    _check_seq(task)
    _check_texts(task)
    values = task.values
    if values.ndim != 1 or values.dtype != np.float64:
        got = f"{values.dtype} with shape {list(values.shape)}"
        raise ShapeError("append", "a list of numbers", got)
    check_points(values, "append")
    if task.horizon < 0:
        raise InputError("horizon", "0 or more", str(task.horizon))
    if task.horizon:
        check_levels(task.quantile_levels)
    rate = task.anomaly_rate
    if rate is not None and not 0.0 < rate < 1.0:
        code = "out_of_range" if math.isfinite(rate) else "non_finite"
        raise InputError("anomaly_rate", "a number strictly between 0 and 1", str(rate), code=code)


def _check_seq(task: AppendTask) -> None:
    if task.seq is None:
        if len(task.values):
            raise InputError("seq", "a number with the points", "none", code="missing_field")
        if task.reset:
            raise InputError("seq", "1 with reset", "none", code="missing_field")
    elif task.seq < 1:
        raise InputError("seq", "1 or more", str(task.seq))
    elif task.reset and task.seq != 1:
        raise InputError("seq", "1 with reset", str(task.seq))


def _check_texts(task: AppendTask) -> None:
    for text in (*task.key, *task.facts, *task.facts.values()):
        try:
            text.encode()
        except UnicodeEncodeError:
            # No store could take it.
            raise InputError("facts", "text", repr(text)[:40], code="bad_type") from None
