"""A daemon on a real socket: slow, large, broken and many connections."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.fakes import SlowModel
from tests.server.daemon import FORECAST, on_socket

BODY = json.dumps({"series": [[1.0, 2.0]], "horizon": 2}).encode()
JSON = "content-type: application/json\r\n"


@pytest.fixture(scope="module")
def port():
    with on_socket(
        header_timeout_s=0.4,
        body_timeout_s=0.6,
        keep_alive_s=1.0,
        max_body_bytes=200_000,
    ) as (port, _):
        yield port


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10.0) as client:
        yield client


def head(length=None, *, method="POST", path=FORECAST, extra=JSON):
    lengths = "" if length is None else f"content-length: {length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{extra}{lengths}\r\n".encode()


def read_all(client):
    """Reads until the daemon closes."""
    pieces = []
    while True:
        try:
            piece = client.recv(65_536)
        except ConnectionResetError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def read_answer(client):
    """Reads one answer; gives status, headers and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65_536)
        assert piece, data
        data += piece
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += client.recv(65_536)
    return int(first.split()[1]), headers, body


def test_slow_body_is_408_and_closed(port):
    with connected(port) as client:
        client.sendall(head(len(BODY)) + BODY[:5])
        status, headers, body = read_answer(client)
        assert (status, json.loads(body)["code"]) == (408, "body_timeout")
        assert headers["connection"] == "close"
        assert read_all(client) == b""


@pytest.mark.parametrize("start", [b"", b"POST /api", head(5)[:-2]])
def test_slow_head_is_closed(port, start):
    started = time.monotonic()
    with connected(port) as client:
        client.sendall(start)
        read_all(client)
    assert 0.2 < time.monotonic() - started < 3.0


@pytest.mark.parametrize("size", [70_000, 250_000])
def test_huge_head_is_refused_even_in_one_piece(port, size):
    with connected(port) as client:
        client.sendall(head(method="GET", path="/livez", extra=f"x: {'a' * size}\r\n"))
        status, _, body = read_answer(client)
    assert status == 400
    assert "at most 65536 bytes" in json.loads(body)["detail"]


def test_idle_connection_is_closed_after_its_answer(port):
    with connected(port) as client:
        client.sendall(head(len(BODY)) + BODY)
        assert read_answer(client)[0] == 200
        client.sendall(b"P")
        assert read_all(client) == b""


def test_huge_body_is_refused_before_it_is_read(port):
    with connected(port) as client:
        client.sendall(head(10**12))
        status, headers, body = read_answer(client)
        assert (status, json.loads(body)["code"]) == (413, "body_too_large")
        assert headers["connection"] == "close"


def test_huge_chunked_body_is_refused(port):
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    with connected(port) as client:
        client.sendall(head(extra=JSON + "transfer-encoding: chunked\r\n"))
        for _ in range(4):
            client.sendall(chunk)
        assert read_answer(client)[0] == 413


def test_chunks_make_one_body(port):
    with connected(port) as client:
        client.sendall(head(extra=JSON + "transfer-encoding: chunked\r\n"))
        for byte in BODY:
            client.sendall(b"1\r\n" + bytes([byte]) + b"\r\n")
        client.sendall(b"0\r\n\r\n")
        assert read_answer(client)[0] == 200


def test_head_request_has_no_body(port):
    with connected(port) as client:
        client.sendall(head(method="HEAD", path="/livez", extra="connection: close\r\n"))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n")


def test_pipelined_requests_are_answered_in_order(port):
    other = BODY.replace(b"2.0", b"7.0")
    with connected(port) as client:
        client.sendall(head(len(BODY)) + BODY + head(len(other)) + other)
        medians = []
        data = b""
        while len(medians) < 2:
            data += client.recv(65_536)
            medians = [json.loads(part.split(b',"quantiles"')[0]) for part in
                       data.split(b'"median":')[1:] if b',"quantiles"' in part]  # fmt: skip
    assert medians == [[2.0, 2.0], [7.0, 7.0]]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
        head(5, extra=JSON + "transfer-encoding: chunked\r\n") + b"0\r\n\r\n",
        head(5, extra=JSON + "content-length: 6\r\n") + b"12345",
        head(extra=JSON + "transfer-encoding: chunked\r\n") + b"fffffffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000,
    ],
)
def test_broken_requests_are_refused(port, request_bytes):
    with connected(port) as client:
        try:
            client.sendall(request_bytes)
        except ConnectionError:
            return
        answer = read_all(client)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert b"HTTP/1.1 2" not in answer


def test_slow_reader_is_cut_off():
    body = json.dumps({"series": [[1.0]] * 100, "horizon": 2_000}).encode()
    with on_socket(write_timeout_s=0.3) as (port, server), connected(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.sendall(head(len(body)) + body)
        client.recv(10)
        deadline = time.monotonic() + 10.0
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server_state.connections


def test_slow_but_steady_reader_gets_all():
    body = json.dumps({"series": [[1.0]] * 200, "horizon": 2_000}).encode()
    with on_socket(write_timeout_s=0.4) as (port, _), connected(port) as client:
        client.sendall(head(len(body)) + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += client.recv(65_536)
        length = int(data.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        received = len(data.partition(b"\r\n\r\n")[2])
        for _ in range(12):
            time.sleep(0.1)
            received += len(client.recv(100_000))
        assert received < length - 5_000_000
        while received < length:
            piece = client.recv(1_000_000)
            assert piece
            received += len(piece)
        assert received == length


def test_connections_are_bounded():
    with on_socket(max_connections=3) as (port, _):
        time.sleep(0.2)
        with connected(port) as one, connected(port) as two, connected(port) as three:
            for client in (one, two, three):
                client.sendall(head(len(BODY)) + BODY)
                assert read_answer(client)[0] == 200
            with connected(port) as four:
                assert read_all(four) == b""


def test_slow_clients_do_not_delay_others():
    with on_socket(header_timeout_s=5.0, body_timeout_s=5.0) as (port, _):
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(100)]
        try:
            for index, client in enumerate(slow):
                client.sendall(head(100)[: 10 + index])
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                started = time.monotonic()
                for _ in range(20):
                    answer = client.post(
                        FORECAST, content=BODY, headers={"content-type": "application/json"}
                    )
                    assert answer.status_code == 200
                assert time.monotonic() - started < 5.0
        finally:
            for client in slow:
                client.close()


def test_concurrent_clients_are_batched():
    model = SlowModel(name="small")
    with on_socket(model) as (port, _):
        before = len(model.calls)
        model.release.clear()

        def ask(value):
            body = {"series": [[float(value)]], "horizon": 1}
            return httpx.post(f"http://127.0.0.1:{port}{FORECAST}", json=body, timeout=20.0)

        with ThreadPoolExecutor(8) as pool:
            answers = [pool.submit(ask, value) for value in range(8)]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                while client.get("/api/v1/health").json()["models"][0]["queued_series"] < 8:
                    time.sleep(0.01)
            model.release.set()
            medians = [answer.result().json()["forecasts"][0]["median"] for answer in answers]
        assert medians == [[value] for value in range(8)]
        assert max(rows for rows, *_ in model.calls[before:]) > 1


def test_client_that_hangs_up_leaves_the_queue():
    model = SlowModel(name="small")
    with on_socket(model) as (port, server):
        model.release.clear()
        with connected(port) as client:
            client.sendall(head(len(BODY)) + BODY)
            assert model.entered.wait(5.0)
        deadline = time.monotonic() + 5.0
        url = f"http://127.0.0.1:{port}/api/v1/health"
        while httpx.get(url).json()["models"][0]["queued_series"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        model.release.set()
        assert not server.should_exit
