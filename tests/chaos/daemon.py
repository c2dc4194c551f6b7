"""A real daemon in a process of its own, as `xlstmd serve` starts it, looked at from outside."""

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from xlstmd.server.append import APPEND_PATH
from xlstmd.server.appender import STREAM_PATH

ROOT = Path(__file__).parents[2]
COMMAND = ("-m", "xlstmd")
START_S = 30.0
CALM_S = 10.0
POLL_S = 0.02
LOG_LINES = 200

# Below those that Linux gives to outgoing connections.
PORTS = (20_000, 32_000)

# The C library gives back what is freed, so that what is resident is what is held.
PLAIN_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}

# What a daemon may keep after it has worked, beside two percent: SQLite's caches of the connections
# that read and write, two megabytes each.
SPARE_BYTES = 4 * 2**20


class Daemon:
    """One daemon on one state folder and one port, over any number of lives.

    Attributes:
      port: the same in all lives.
      sent: appends and frames that this life has taken and must have counted; clients add to it.
      baseline: what `note_baseline` has seen of this life.
    """

    def __init__(self, folder, *, command=COMMAND, **settings):
        self.folder = Path(folder)
        self.port = quiet_port()
        self.sent = 0
        self.baseline = None
        self._command = command
        self._settings = {"log_level": "warning", **settings}
        self._lock = threading.Lock()
        self._process = None
        self._log = deque(maxlen=LOG_LINES)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self):
        return f"ws://127.0.0.1:{self.port}{STREAM_PATH}"

    @property
    def pid(self):
        return self._process.pid

    def client(self, timeout=30.0):
        """Gives a client that the caller closes."""
        return httpx.Client(base_url=self.url, timeout=timeout)

    def start(self, **settings):
        """Begins a life, with further settings from now on; gives the seconds to its readiness."""
        self._settings |= settings
        began = time.monotonic()
        self._begin()
        self.sent, self.baseline = 0, None
        while self.probe("/readyz") != 200:
            if self._process.poll() is not None or time.monotonic() - began > START_S:
                raise AssertionError("the daemon did not become ready\n" + "".join(self._log))
            time.sleep(POLL_S)
        return time.monotonic() - began

    def fail_to_start(self):
        """Begins a life that ends by itself; gives its exit status and what it has said."""
        self._log.clear()
        reading = self._begin()
        status = self.wait(START_S)
        reading.join()
        return status, "".join(self._log)

    def _begin(self):
        words = ["serve", "--port", str(self.port), "--state-dir", str(self.folder)]
        self._process = subprocess.Popen(
            [sys.executable, *self._command, *words],
            cwd=ROOT,
            env=_environment(self._settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        reading = threading.Thread(
            target=_keep, args=(self._process.stderr, self._log), daemon=True
        )
        reading.start()
        return reading

    def kill(self):
        """Ends this life without a word."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self):
        """Ends this life as a supervisor does."""
        self.signal(signal.SIGTERM)
        assert self.wait(START_S) == 0, "".join(self._log)

    def signal(self, number):
        """Sends a signal."""
        self._process.send_signal(number)

    def wait(self, timeout=10.0):
        """Waits for the end of this life; gives the exit status."""
        return self._process.wait(timeout)

    def close(self):
        """Ends whatever lives."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()

    def has_ended(self):
        """Says whether the process is gone."""
        return self._process.poll() is not None

    def note_sent(self, count=1):
        """Notes appends or frames that the daemon has in full."""
        with self._lock:
            self.sent += count

    def probe(self, path):
        """Gives the status of an answer, 0 for none; each time over a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        try:
            connection.request("GET", path, headers={"connection": "close"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def metrics(self):
        """Gives the samples of all families."""
        text = httpx.get(f"{self.url}/metrics", headers={"connection": "close"}).text
        return [one for family in text_string_to_metric_families(text) for one in family.samples]

    def total(self, name, **labels):
        """Gives the sum of the samples of one name that have these labels."""
        return total(self.metrics(), name, **labels)

    def processes(self):
        """Gives the process and all that descend from it."""
        return _descendants(self.pid)

    def files(self):
        """Gives how many files and sockets all its processes have open."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.processes())

    def resident(self):
        """Gives the resident bytes of all its processes."""
        return sum(_resident(pid) for pid in self.processes())

    def note_baseline(self):
        """Notes what the process has when nothing is to do, after some work of each kind."""
        self.assert_idle()
        self.baseline = (self.files(), self.resident())

    def assert_idle(self):
        """Waits until all that was taken is answered; what says that it is ready must be."""
        until(self._is_idle, CALM_S, self._say)

    def is_calm(self):
        """Says whether all is answered, and nothing stays that was not there before."""
        self.assert_idle()
        files, resident = self.baseline
        until_or_late(lambda: self.files() <= files, CALM_S)
        return self.files() <= files and self.resident() <= 1.02 * resident + SPARE_BYTES

    def assert_calm(self):
        """Holds the daemon to what must be so after every case."""
        assert self.is_calm(), f"{self.files()} files, {self.resident()} bytes; {self.baseline}"

    def counted(self):
        """Gives how many appends and frames are done, well or not."""
        return counted(self.metrics())

    def _is_idle(self):
        samples = self.metrics()
        waiting = ("xlstmd_queue_depth", "xlstmd_queue_bytes", "xlstmd_session_requests")
        is_empty = not any(total(samples, name) for name in waiting)
        return is_empty and counted(samples) == self.sent and self.probe("/readyz") == 200

    def _say(self):
        shown = [
            one for one in self.metrics() if one.name.startswith(("xlstmd_queue", "xlstmd_req"))
        ]
        return f"sent {self.sent}; {shown}\n" + "".join(self._log)


def quiet_port():
    """Gives a port that no outgoing connection takes while its daemon is away.

    One that looks whether somebody listens could even meet itself there.
    """
    for _ in range(100):
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def total(samples, name, **labels):
    """Gives the sum of some samples."""
    return sum(
        one.value for one in samples if one.name == name and labels.items() <= one.labels.items()
    )


def counted(samples):
    """Gives how many appends and frames are done."""
    return sum(
        total(samples, "xlstmd_requests_total", endpoint=path)
        for path in (APPEND_PATH, STREAM_PATH)
    )


def until(condition, seconds, say=str):
    """Waits for something."""
    assert until_or_late(condition, seconds), say()


def until_or_late(condition, seconds):
    """Waits for something, and says whether it came in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _environment(settings):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XLSTMD_")}
    given = {f"XLSTMD_{name.upper()}": str(value) for name, value in settings.items()}
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    return kept | given | PLAIN_MEMORY | {"PYTHONPATH": path}


def _keep(stream, log):
    with stream:
        log.extend(stream)


def _descendants(pid):
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name in parentheses may hold anything.
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            parents[int(place.name)] = int(fields[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    return 0
