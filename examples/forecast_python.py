"""Forecasts a weekly series with the library: whole, and as a stream that grows.

Run `python examples/forecast_python.py`; no daemon is needed.
"""

from pathlib import Path

import numpy as np
import pyarrow.compute
import pyarrow.csv

import xlstmd

DATA = Path(__file__).parent / "illness_ili.csv"
HORIZON = 8
LEVELS = (0.1, 0.5, 0.9)


def main():
    """Forecasts."""
    forecaster = xlstmd.load_forecaster()
    frame = pyarrow.csv.read_csv(DATA)

    # A long frame of pandas, polars or pyarrow: all series at once, with future times.
    table = forecaster.predict(frame, HORIZON, LEVELS)
    print(f"{forecaster.identity}: {table.num_rows} rows, {', '.join(table.column_names)}")
    for row in table.slice(0, HORIZON).to_pylist():
        bands = " ".join(f"{row[name]:.2f}" for name in ("q0.1", "q0.5", "q0.9"))
        print(f"{row['unique_id']}  {row['ds']}  {bands}")

    # An array: NaN is a missing value.
    values = frame.filter(pyarrow.compute.equal(frame["unique_id"], "ili-percent"))["y"].to_numpy()
    whole = forecaster.predict(values, HORIZON, LEVELS)

    # A stream: the same forecast as for the whole series, at any time, in constant memory.
    stream = forecaster.stream()
    for value in values:
        stream.append([value])
    grown = stream.forecast(HORIZON, LEVELS)
    print(f"stream of {stream.observed} points in {stream.nbytes} bytes")
    print(f"largest difference to the whole series: {np.abs(grown.mean - whole.mean).max():.1e}")


if __name__ == "__main__":
    main()
