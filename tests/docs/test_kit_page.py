"""The kit's page, the tutorial's length, and pages of providers, which follow the template."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PROVIDERS = DOCS / "reference/providers"
OTHERS = {"TEMPLATE.md", "openvino.md"}  # the latter is to follow the template, too
PAGES = sorted(path for path in PROVIDERS.glob("*.md") if path.name not in OTHERS)


def test_the_page_of_the_kit_is_current():
    path = DOCS / "generate_kit.py"
    spec = importlib.util.spec_from_file_location("generate_kit", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = (DOCS / "reference/conformance-kit.md").read_text(encoding="utf-8")
    assert module.page() == found, "run python docs/generate_kit.py"
    rows = re.findall(r"^\| `test_\w+` \| (.*) \|$", found, re.M)
    assert len(rows) > 60
    assert all(rows), "every test says in its docstring what holds"


def test_the_tutorial_takes_a_quarter_of_an_hour():
    """At 200 words a minute, code included."""
    page = (DOCS / "tutorials/write-a-provider.md").read_text(encoding="utf-8")
    assert len(page.split()) / 200 < 15


def headings(path):
    return re.findall(r"^## (.*)$", path.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_providers_page_has_the_headings_of_the_template_in_order(path):
    wanted = headings(PROVIDERS / "TEMPLATE.md")
    assert [title for title in headings(path) if title in wanted] == wanted
