"""Forecasts the share of visits for influenza-like illness over HTTP, with the standard library.

Run `xlstmd serve` first, then `python examples/example_client.py [URL]`.
"""

import csv
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

DATA = Path(__file__).parent / "illness_ili.csv"
URL = "http://127.0.0.1:8884"
SERIES = "ili-percent-weighted"
HORIZON = 26
WIDTH = 60


def read(series):
    """Gives the times and values of one series."""
    with DATA.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["unique_id"] == series]
    return [row["ds"] for row in rows], [float(row["y"]) for row in rows]


def ask(url, times, values):
    """Sends a forecast request and gives the answer."""
    question = {
        "series": [{"id": SERIES, "values": values, "start": times[0], "freq": "W"}],
        "horizon": HORIZON,
        "quantile_levels": [0.1, 0.5, 0.9],
    }
    request = urllib.request.Request(
        f"{url}/api/v1/xlstm/forecast",
        data=json.dumps(question).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def draw(label, low, middle, high, top):
    """Draws one week as a line: the band from low to high, and the middle in it."""
    places = [round(max(value, 0.0) / top * WIDTH) for value in (low, middle, high)]
    line = [" "] * (WIDTH + 1)
    line[places[0] : places[2] + 1] = "░" * (places[2] + 1 - places[0])
    line[places[1]] = "█"
    print(f"{label}  {middle:6.2f} │{''.join(line).rstrip()}")


def main(url):
    """Asks, prints and draws."""
    times, values = read(SERIES)
    answer = ask(url, times, values)
    forecast = answer["forecasts"][0]
    bands = forecast["quantiles"]
    print(json.dumps(answer, indent=None)[:400] + " ...\n")
    print(f"{SERIES}: the last {HORIZON} weeks, then {HORIZON} forecast by {answer['model']}")
    print(f"in {answer['timing']['total_ms']:.0f} ms; the band is from quantile 0.1 to 0.9\n")
    top = max(values[-HORIZON:] + bands["0.9"])
    for time, value in zip(times[-HORIZON:], values[-HORIZON:], strict=True):
        draw(time, value, value, value, top)
    print("-" * 10)
    future = zip(forecast["timestamps"], *bands.values(), strict=True)
    for time, low, middle, high in future:
        draw(time[:10], low, middle, high, top)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else URL)
    except urllib.error.HTTPError as error:
        sys.exit(f"refused: {error.read().decode()}")
    except urllib.error.URLError as error:
        sys.exit(f"no daemon answers ({error.reason}); start one with: xlstmd serve")
