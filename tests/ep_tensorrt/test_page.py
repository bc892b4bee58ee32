"""The provider's page lists its options, what they become, and its operators as they are."""

import textwrap
from pathlib import Path

from runtime_ep_tensorrt.info import OPTIONS
from runtime_ep_tensorrt.meanings import MEANINGS
from runtime_ep_tensorrt.operators import LISTED, OPERATORS, OPSETS
from surface import VERSIONS, surface

PAGE = Path(__file__).parents[2] / "docs/reference/providers/tensorrt.md"


def options():
    """Yield a line of the table for each option."""
    yield "| option | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, option in OPTIONS.items():
        default = f"`{option.default}`" if option.default != "" else "empty"
        yield f"| `{name}` | {option.type.__name__} | {default} | {option.help} |"


def meanings():
    """Yield a line for each option that TensorRT hears of."""
    yield "| option | TensorRT 10 | TensorRT 11 |"
    yield "|---|---|---|"
    for name, (ten, eleven) in MEANINGS.items():
        yield f"| `{name}` | {ten} | {eleven} |"


def part(name):
    """Return what stands under a mark of the page."""
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(f"<!-- {name} -->")[2].partition("<!-- -->")[0].strip()


def wanted(name):
    """Return what shall stand there."""
    if name == "operators":
        return textwrap.fill(" ".join(sorted(OPERATORS)), 96)
    return "\n".join({"options": options, "meanings": meanings}[name]())


def check(name):
    assert part(name) == wanted(name), f"write this into it:\n{wanted(name)}"


def test_the_table_of_options_is_what_the_provider_declares():
    check("options")


def test_the_table_of_meanings_is_what_the_provider_declares():
    check("meanings")


def test_every_operator_is_listed():
    check("operators")


def test_the_versions_are_those_that_were_looked_at():
    text = PAGE.read_text(encoding="utf-8")
    assert all(surface(major).version in text for major in VERSIONS)
    assert f"TensorRT {LISTED}, opsets {OPSETS.start} to {OPSETS.stop - 1}" in text


def test_it_says_plainly_that_the_library_was_not_run():
    text = PAGE.read_text(encoding="utf-8")
    assert "This provider has never been run on NVIDIA's library" in text
