"""The provider's page lists its options and operators as they are."""

from pathlib import Path

import runtime_ep_coreml.lowering  # noqa: F401  (fills the table)
from runtime_ep_coreml.info import OPTIONS
from runtime_ep_coreml.table import TABLE

PAGE = Path(__file__).parents[2] / "docs/reference/providers/coreml.md"


def rows():
    """Return a line of the table for each option."""
    for name, option in OPTIONS.items():
        kind = option.type
        if isinstance(kind, tuple):
            told = ", ".join(f"`{word}`" for word in kind)
        else:
            told = kind.__name__
        default = f"`{option.default}`" if option.default != "" else "empty"
        yield f"| `{name}` | {told} | {default} | {option.help} |"


def test_the_table_of_options_is_what_the_provider_declares():
    table = "\n".join(rows())
    assert table in PAGE.read_text(encoding="utf-8"), f"write this into it:\n{table}"


def test_every_operator_is_listed():
    text = PAGE.read_text(encoding="utf-8")
    listed = text.partition("<!-- operators -->")[2].partition("<!-- -->")[0]
    assert listed.split() == sorted(TABLE), (
        f"write this into it:\n{' '.join(sorted(TABLE))}"
    )
