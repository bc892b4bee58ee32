"""The provider's page lists its options as they are, and the LLVM that is needed."""

import os
from pathlib import Path

import pytest
from runtime.providers import resolve
from runtime_ep_cpu.choice import OLDEST_LLVM

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/providers/cpu.md"


def rows():
    """Return a line of the table for each option."""
    for name, option in resolve("cpu").info.options.items():
        told = ", ".join(f"`{word}`" for word in option.type)
        yield f"| `{name}` | {told} | `{option.default}` | {option.help} |"


@pytest.mark.skipif("RUNTIME_TEST_CPU" in os.environ, reason="it sets the defaults")
def test_the_table_of_options_is_what_the_provider_declares():
    table = "\n".join(rows())
    text = PAGE.read_text(encoding="utf-8")
    assert table in text, f"write this table into {PAGE.name}:\n{table}"


def test_the_release_of_llvmlite_is_the_one_that_is_installed_along():
    wanted = f"llvmlite | 0.48 or newer (LLVM {OLDEST_LLVM})"
    assert wanted in PAGE.read_text(encoding="utf-8")
    assert '"llvmlite>=0.48;' in (ROOT / "plugins/ep-cpu/pyproject.toml").read_text()
