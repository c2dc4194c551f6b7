"""The least that the daemon's server stack can do: one route that says hello.

    python -m benchmarks.hello --port N

What a request costs here, no route of the daemon can undercut.
"""

import argparse

import uvicorn
from litestar import Litestar, get


@get("/", sync_to_thread=False)
def hello() -> dict[str, str]:
    """Says hello."""
    return {"hello": "world"}


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hello", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        Litestar([hello], openapi_config=None),
        host="127.0.0.1",
        port=parser.parse_args().port,
        http="httptools",
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
