"""The provider's page lists its options as they are."""

from pathlib import Path

import pytest
from runtime.providers import resolve

PAGE = Path(__file__).parents[2] / "docs/reference/providers/openvino.md"


def rows():
    """Return a line of the table for each option."""
    options = resolve("openvino").info.options
    for name, option in options.items():
        kind = option.type
        if isinstance(kind, tuple):
            told = ", ".join(f"`{word}`" for word in kind if word)
        else:
            told = kind.__name__
        default = f"`{option.default}`" if option.default != "" else "empty"
        yield f"| `{name}` | {told} | {default} | {option.help} |"


def test_the_table_of_options_is_what_the_provider_declares():
    if resolve("openvino") is None:
        pytest.skip("the provider is not installed")
    text = PAGE.read_text(encoding="utf-8")
    table = "\n".join(rows())
    assert table in text, f"write this table into {PAGE.name}:\n{table}"
