"""What the pages show is run: Python blocks, requests, commands."""

import argparse
import json
import re
import shlex

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, name
from tests.server.daemon import FORECAST, in_process, run
from xlstmd.cli.options import build_parser
from xlstmd.server.settings import Settings

PYTHON_PAGES = [page for page in PAGES if blocks(page, "python")]
SHELL_PAGES = [page for page in PAGES if blocks(page, "sh")]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for number, block in enumerate(blocks(page, "python")):
        exec(compile(block, f"{name(page)}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", SHELL_PAGES, ids=name)
def test_shown_requests_are_accepted(page):
    async def answers(bodies):
        async with in_process() as client:
            return [await client.post(FORECAST, json=body) for body in bodies]

    shown = "\n".join(blocks(page, "sh"))
    bodies = [json.loads(text) for text in re.findall(r"-d '(.*?)'", shown, re.DOTALL)]
    for answer in run(answers(bodies)):
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("page", SHELL_PAGES, ids=name)
def test_shown_commands_exist(page):
    for line in "\n".join(blocks(page, "sh")).splitlines():
        for command in re.findall(r"(?:^|\| )xlstmd (.*)$", line):
            words = shlex.split(command, comments=True)
            assert isinstance(build_parser().parse_args(words), argparse.Namespace)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_make_targets_exist(page):
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", rules, re.MULTILINE))
    asked = set(re.findall(r"`make ([a-z-]+)`", page.read_text(encoding="utf-8")))
    for block in blocks(page, "sh"):
        asked |= set(re.findall(r"^make ([a-z-]+)", block, re.MULTILINE))
    assert asked <= targets


def test_settings_page_names_every_setting_with_its_default():
    page = ROOT / "docs" / "reference" / "settings.md"
    rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page.read_text("utf-8"), re.MULTILINE))
    defaults = Settings()
    assert rows.keys() == set(Settings.names())
    for setting, shown in rows.items():
        value = getattr(defaults, setting)
        expected = json.dumps(value).strip('"') if isinstance(value, str | tuple) else str(value)
        assert shown.replace("_", "").strip('"') == expected.replace("_", ""), setting
