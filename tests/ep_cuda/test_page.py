"""The provider's page lists its options and what it needs as they are."""

from pathlib import Path

import pytest
from runtime_ep_cuda.capability import operators
from runtime_ep_cuda.info import OPTIONS
from runtime_ep_cuda.libraries import NEEDED

PAGE = Path(__file__).parents[2] / "docs/reference/providers/cuda.md"


def rows():
    """Return a line of the table for each option."""
    for name, option in OPTIONS.items():
        kind = option.type
        if isinstance(kind, tuple):
            told = ", ".join(f"`{word}`" for word in kind if word)
        else:
            told = kind.__name__
        default = f"`{option.default}`" if option.default != "" else "empty"
        yield f"| `{name}` | {told} | {default} | {option.help} |"


def test_the_table_of_options_is_what_the_provider_declares():
    table = "\n".join(rows())
    assert table in PAGE.read_text(encoding="utf-8"), f"write this into it:\n{table}"


def test_everything_that_is_needed_is_listed():
    text = PAGE.read_text(encoding="utf-8")
    for needed in NEEDED:
        low, high = (".".join(map(str, numbers)) for numbers in needed.releases)
        assert f"`{needed.distribution}` {low} to before {high}" in text
        assert f"`{needed.file}`" in text


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
def test_every_operator_is_listed(domain):
    text = PAGE.read_text(encoding="utf-8")
    mark = f"<!-- operators {domain} -->".replace("  ", " ")
    listed = text.partition(mark)[2].partition("<!-- -->")[0]
    told = " ".join(operators(domain))
    assert listed.split() == operators(domain), f"write this into it:\n{told}"
