"""A headless Chromium, driven through chromedriver's HTTP interface."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

CHROMIUM = "chromium"
DRIVER = "chromedriver"
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_S = 20.0
WAIT_S = 15.0
POLL_S = 0.05


def why_missing():
    """Says what a browser test lacks here; empty if nothing."""
    missing = [name for name in (CHROMIUM, DRIVER) if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


class Browser:
    """One page; a context manager."""

    def __init__(self, profile, *, width=1440, height=1000, dark=False):
        self._profile = profile
        self._size = width, height
        self._dark = dark
        self._base = ""
        self._ending = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as started:
            port = free_port()
            driver = subprocess.Popen(
                [shutil.which(DRIVER), f"--port={port}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            started.callback(_end, driver)
            self._base = f"http://127.0.0.1:{port}"
            until(self._is_up, START_S)
            session = self._call("POST", "/session", {"capabilities": self._capabilities()})
            self._base += f"/session/{session['sessionId']}"
            started.callback(self._call, "DELETE", "")
            self._emulate()
            self._ending = started.pop_all()
        return self

    def __exit__(self, *error):
        self._ending.close()

    def open(self, url):
        """Loads a page."""
        self._call("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        """Runs a script in the page and gives what it returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script, *arguments):
        """Waits until a script returns something true, and gives it."""
        return until(lambda: self.run(script, *arguments), WAIT_S)

    def click(self, selector):
        """Clicks as a user does, so that a covered or hidden element fails."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{next(iter(found.values()))}/click", {})

    def type(self, selector, text):
        """Types into a field, after what it has."""
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        self._call("POST", f"/element/{next(iter(found.values()))}/value", {"text": text})

    def messages(self):
        """Gives what the console of the page says: errors, refusals of the policy."""
        log = self._call("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in log]

    def screenshot(self, path):
        """Writes a picture of the whole page."""
        self._cdp("Page.enable")
        picture = self._cdp("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def _capabilities(self):
        arguments = [*ARGUMENTS, f"--user-data-dir={self._profile}"]
        return {
            "alwaysMatch": {
                "goog:chromeOptions": {"binary": shutil.which(CHROMIUM), "args": arguments},
                "goog:loggingPrefs": {"browser": "ALL"},
            }
        }

    def _emulate(self):
        width, height = self._size
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = "dark" if self._dark else "light"
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._cdp("Emulation.setEmulatedMedia", features=[feature])

    def _cdp(self, command, **parameters):
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _is_up(self):
        try:
            return self._call("GET", "/status")["ready"]
        except OSError:
            return False

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60.0) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise AssertionError(f"{method} {path}: {value['message']}") from None


def until(condition, seconds):
    """Waits until a condition is true, and gives its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(POLL_S)


def free_port():
    """Gives a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _end(process):
    process.terminate()
    process.wait(10)
