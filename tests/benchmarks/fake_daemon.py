"""A daemon without a model: answers as `fake_forecast` does, with faults on demand.

python fake_daemon.py --port N [--offset X] [--status N] [--mute]
"""

import argparse
import asyncio
import json
from dataclasses import dataclass

import numpy as np
import uvicorn


@dataclass(frozen=True)
class Bands:
    """A forecast with a median and quantiles."""

    median: np.ndarray
    quantiles: np.ndarray


def fake_forecast(histories, horizon, quantile_levels):
    """Continues the last value with bands of a fixed width."""
    last = np.array([history[-1] for history in histories])[:, None]
    median = np.repeat(last, horizon, axis=1)
    return Bands(median, median[:, :, None] + np.array(quantile_levels) - 0.5)


def make_app(offset, status, mute):
    """Makes the ASGI application."""
    levels = [round(0.1 * step, 1) for step in range(1, 10)]

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        answer = {"status": "ready"}
        code = 200
        if scope["path"].endswith("/forecast"):
            if mute:
                await asyncio.sleep(3600)
            body = json.loads((await receive())["body"])
            history = np.array(body["series"][0])
            bands = fake_forecast([history], body["horizon"], levels).quantiles[0] + offset
            quantiles = {f"{level:g}": bands[:, k].tolist() for k, level in enumerate(levels)}
            answer, code = {"forecasts": [{"quantiles": quantiles}]}, status
        content = json.dumps(answer).encode()
        headers = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": code, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--offset", type=float, default=0.0)
    parser.add_argument("--status", type=int, default=200)
    parser.add_argument("--mute", action="store_true")
    options = parser.parse_args()
    uvicorn.run(
        make_app(options.offset, options.status, options.mute),
        host="127.0.0.1",
        port=options.port,
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=1,
    )
