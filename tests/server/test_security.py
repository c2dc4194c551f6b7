"""Who may ask, in which format, and what is refused at the gate."""

import pytest

from xlstmd.server.media import Media, answer_media, request_media
from xlstmd.server.problems import Problem
from xlstmd.server.security import HostCheck


@pytest.mark.parametrize(
    "host",
    [
        b"localhost",
        b"LOCALHOST:8884",
        b"127.0.0.1:1",
        b"[::1]:8884",
        b"[::1]",
        b"forecast.example",
        b"forecast.example:443",
    ],
)
def test_own_names_pass(host):
    HostCheck("127.0.0.1", ["Forecast.Example"]).check("POST", [host], None)


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"evil.example"],
        [b"localhost.evil.example"],
        [b"localhost", b"localhost"],
        [b"localhost:80:80"],
        [b"localhost@evil.example"],
        [b"\xff"],
    ],
)
def test_other_names_are_refused(hosts):
    with pytest.raises(Problem, match="Host") as refusal:
        HostCheck("127.0.0.1", []).check("GET", hosts, None)
    assert (refusal.value.status, refusal.value.code) == (403, "bad_origin")


@pytest.mark.parametrize("origin", [b"null", b"http://evil.example", b"file://localhost", b"x"])
def test_foreign_origins_may_only_read(origin):
    check = HostCheck("127.0.0.1", [])
    check.check("GET", [b"localhost"], origin)
    check.check("POST", [b"localhost"], b"http://localhost:8884")
    with pytest.raises(Problem, match="Origin"):
        check.check("POST", [b"localhost"], origin)


@pytest.mark.parametrize(
    ("headers", "media"),
    [
        ({"content-type": "application/json"}, Media.JSON),
        ({"content-type": 'Application/JSON; charset="UTF-8"'}, Media.JSON),
        ({"content-type": "application/x-msgpack"}, Media.MSGPACK),
        ({"content-type": "application/json", "content-encoding": "identity"}, Media.JSON),
    ],
)
def test_known_formats_are_read(headers, media):
    assert request_media(headers) is media


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_formats_are_415(headers):
    with pytest.raises(Problem) as refusal:
        request_media(headers)
    assert (refusal.value.status, refusal.value.code) == (415, "unsupported_media")


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", Media.MSGPACK),
        ("*/*", Media.MSGPACK),
        ("application/json", Media.JSON),
        ("application/json;q=0.9, application/msgpack;q=0.1", Media.JSON),
        ("application/msgpack;q=0, */*", Media.JSON),
        ("text/html, application/*;q=0.5", Media.MSGPACK),
    ],
)
def test_accept_is_weighed(accept, media):
    assert answer_media(accept, Media.MSGPACK) is media


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "*/*;q=no"])
def test_nothing_acceptable_is_406(accept):
    with pytest.raises(Problem) as refusal:
        answer_media(accept, Media.JSON)
    assert (refusal.value.status, refusal.value.code) == (406, "not_acceptable")
