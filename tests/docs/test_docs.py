"""What the pages promise: links, paths, examples, and references that list what is there."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.daemon import in_process, make_engine, run
from tests.server.fake_sessions import FakeSessionsEngine
from xlstmd.cli.options import build_parser
from xlstmd.engine.telemetry import EngineTelemetry
from xlstmd.models.checkpoint import shipped
from xlstmd.server.append_task import read_append
from xlstmd.server.appender import STREAM_PATH
from xlstmd.server.media import Media
from xlstmd.server.openapi import openapi_document
from xlstmd.server.openpi import ROUTE as OPENPI
from xlstmd.server.policy_stepper import STREAM_PATH as POLICY_STREAM
from xlstmd.server.policy_task import read_policy_step
from xlstmd.server.problems import TABLE, TITLES
from xlstmd.server.question import read_question
from xlstmd.server.settings import Settings
from xlstmd.server.telemetry import ServerTelemetry

ROOT = Path(__file__).parents[2]

# Folders that hold no page of ours.
FOREIGN = {"build", "dist", "runs", "screenshots"}

# Routes that the description of the API leaves out.
UNDESCRIBED = {
    "/metrics",
    "/openapi.json",
    "/docs",
    "/",
    "/live",
    STREAM_PATH,
    POLICY_STREAM,
    OPENPI,
}

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REQUEST = re.compile(r"/api/v1/xlstm/(\S+)[^']*'[^']*' -d '\s*(\{.*?\})'", re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|work|mnt|tmp|Users)/")
NAMED = re.compile(r"`((?:src|native|tests|docs|benchmarks|examples)/[\w./-]*)(?:::\w+)?`")


# What reads the bodies of shown requests, by the end of their path.
READERS = {
    "forecast": read_question,
    "forecast/append": read_append,
    "policy/step": read_policy_step,
}


def is_ours(path):
    """Says whether a page belongs to the repository."""
    folders = path.relative_to(ROOT).parts[:-1]
    return not any(folder.startswith(".") or folder in FOREIGN for folder in folders)


def name(page):
    """Gives a page's path as people write it."""
    return str(page.relative_to(ROOT))


def read(page):
    """Gives the text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    """Gives the code blocks of one language, in order."""
    return [code for found, code in FENCED.findall(read(page)) if found == language]


def anchors(text):
    """Gives the names by which a page's headings can be linked to."""
    plain = (re.sub(r"[^\w\- ]", "", found.lower()) for found in HEADING.findall(text))
    return {heading.replace(" ", "-") for heading in plain}


def first_column(text):
    """Gives the code words in the first column of a text's tables."""
    rows = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row)}


def commands(parser):
    """Gives a parser's commands with their parsers; itself when it has none."""
    children = [
        child
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for child in action.choices.values()
    ]
    if not children:
        return [(parser.prog, parser)]
    return [pair for child in children for pair in commands(child)]


def options(parser):
    """Gives the long options of one command, without help."""
    names = {option for action in parser._actions for option in action.option_strings}
    return {option for option in names if option.startswith("--")} - {"--help"}


PAGES = sorted(path for path in ROOT.rglob("*.md") if is_ours(path))
PYTHON_PAGES = [page for page in PAGES if blocks(page, "python")]
SHELL_PAGES = [page for page in PAGES if blocks(page, "sh")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for target in LINK.findall(FENCED.sub("", read(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(read(linked)), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_names_a_place_of_one_machine(page):
    assert MACHINE_PATH.search(read(page)) is None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE))
    asked = re.findall(r"`make ([a-z0-9-]+)", read(page))
    asked += re.findall(r"^make ([a-z0-9-]+)", "\n".join(blocks(page, "sh")), re.MULTILINE)
    assert set(asked) <= targets


@pytest.mark.parametrize("page", ["docs/equations.md", "ARCHITECTURE.md"])
def test_named_files_and_folders_exist(page):
    paths = NAMED.findall(read(page))
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


def test_equations_name_what_their_files_define():
    rows = re.findall(r"\| `(src/[^`]+)` \| `(\w+)` \|", read("docs/equations.md"))
    assert len(rows) > 20
    for path, what in rows:
        defined = rf"^(?:def|class) {what}\b|^{what}\b.* = "
        assert re.search(defined, read(path), re.MULTILINE), f"{path}: {what}"


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name)
def test_python_examples_run(page):
    if not shipped():
        pytest.skip("needs a shipped model, and none is in src/xlstmd/models/weights")
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks(page, "python"))],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("page", SHELL_PAGES, ids=name)
def test_shown_requests_and_commands_are_understood(page):
    text = "\n".join(blocks(page, "sh"))
    assert len(re.findall(r" -d '", text)) == len(REQUEST.findall(text))
    for route, body in REQUEST.findall(text):
        READERS[route](body.encode(), Media.JSON, Settings())
    for line in re.findall(r"(?:^|\| )xlstmd (.*)$", text, re.MULTILINE):
        words = shlex.split(line, comments=True)
        assert isinstance(build_parser().parse_args(words), argparse.Namespace)


@pytest.mark.parametrize("page", ["docs/reference/http.md", "docs/howto/stream-a-series.md"])
def test_shown_streams_can_be_fed_in_order(page):
    async def feed():
        engine = make_engine(Settings(), kind=FakeSessionsEngine)
        async with in_process(engine=engine) as client:
            return [
                await client.post(f"/api/v1/xlstm/{route}", json=json.loads(body))
                for route, body in REQUEST.findall("\n".join(blocks(page, "sh")))
            ]

    answers = run(feed())
    assert [answer.json()["seq"] for answer in answers] == [1, 2]


def test_readme_has_a_request_and_the_places_for_measurements():
    assert REQUEST.search("\n".join(blocks("README.md", "sh")))
    lines = read("README.md").splitlines()
    assert lines.count("<!-- accuracy -->") == lines.count("<!-- http -->") == 1


def test_http_reference_shows_a_request_and_a_problem():
    request, append, step, problem = blocks("docs/reference/http.md", "json")
    read_question(request.encode(), Media.JSON, Settings())
    read_append(append.encode(), Media.JSON, Settings())
    read_policy_step(step.encode(), Media.JSON, Settings())
    assert json.loads(problem)["title"] == TITLES[json.loads(problem)["status"]]


def test_http_reference_lists_every_route_status_and_code():
    above, _, errors = read("docs/reference/http.md").partition("\n## Errors")
    described = set(json.loads(openapi_document())["paths"])
    assert {word for word in first_column(above) if word.startswith("/")} == described | UNDESCRIBED
    assert {int(row) for row in re.findall(r"^\| (\d{3}) \|", errors, re.MULTILINE)} == set(TITLES)
    for _, code in TABLE.values():
        assert f"`{code}`" in errors


def test_settings_reference_lists_every_setting_with_its_default():
    page = read("docs/reference/settings.md")
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.*?) \|", page, re.MULTILINE))
    assert tuple(rows) == Settings.names()
    for setting, shown in rows.items():
        default = getattr(Settings(), setting)
        if isinstance(default, int | float):
            assert float(shown.replace(",", "")) == default, setting


def test_metrics_reference_lists_every_family_and_its_type():
    registry = ServerTelemetry(EngineTelemetry().registry).registry
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in registry.collect()
        if family.name.startswith("xlstmd_")
    }
    page = read("docs/reference/metrics.md")
    assert dict(re.findall(r"^\| `(xlstmd_\w+)` \| (\w+) \|", page, re.MULTILINE)) == families


@pytest.mark.parametrize(("words", "parser"), commands(build_parser()))
def test_command_line_reference_lists_every_option(words, parser):
    page = read("docs/reference/command-line.md")
    chapter = re.search(rf"^## `{words}\b.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert chapter is not None
    assert set(re.findall(r"`(--[\w-]+)", chapter[0])) == options(parser)
