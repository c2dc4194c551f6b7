"""Starts the daemon, forecasts the CDC series over HTTP, and stays until it is stopped.

`make run` is this. Usage: python examples/run_demo.py [PORT]
"""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

CLIENT = Path(__file__).parent / "example_client.py"
START_SECONDS = 60.0


def wait_until_ready(daemon, url):
    """Waits for the daemon's own word; gives up when it ends."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if daemon.poll() is not None:
            sys.exit(f"the daemon did not start; exit code {daemon.returncode}, see above")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"the daemon was not ready within {START_SECONDS:g} s")


def refuse_taken(port):
    """Ends before anything starts if somebody else listens: that daemon would answer for ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(
                f"port {port} cannot be used ({error.strerror}); try: make run PORT={port + 1}"
            )


def main(port):
    """Runs daemon and client."""
    refuse_taken(port)
    url = f"http://127.0.0.1:{port}"
    # In a session of its own, so that it hears of Ctrl-C from here alone: the first signal drains
    # it, a second one ends it at once.
    daemon = subprocess.Popen(
        [sys.executable, "-m", "xlstmd", "serve", "--port", str(port)], start_new_session=True
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: daemon.terminate())
    try:
        wait_until_ready(daemon, url)
        client = subprocess.run([sys.executable, str(CLIENT), url], check=False)
        if daemon.poll() is None and client.returncode == 0:
            print(f"\nThe daemon runs. Its page: {url}/   Stop it with Ctrl-C.", flush=True)
            return daemon.wait()
        return client.returncode or daemon.returncode
    finally:
        if daemon.poll() is None:
            daemon.terminate()
            daemon.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8884))
