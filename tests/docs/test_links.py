"""Links and named places exist."""

import ast
import re

import pytest

from tests.docs.pages import PAGES, ROOT, name

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PLACE = re.compile(r"`(src/[\w/]+\.py)(?:::(\w+))?`")


def headings(page):
    """Gives the anchors of a page's headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_resolve(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), target
        if anchor and place.suffix == ".md":
            assert anchor in headings(place), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_sources_exist(page):
    for path, function in PLACE.findall(page.read_text(encoding="utf-8")):
        source = ROOT / path
        assert source.is_file(), path
        if function:
            tree = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
            assert function in {getattr(node, "name", None) for node in tree}, f"{path}::{function}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pages_name_no_place_of_one_machine(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp|Users)/", text)
