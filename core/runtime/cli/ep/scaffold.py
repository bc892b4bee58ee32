"""The project that ``runtime ep new`` writes: its files, made from templates."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from string import Template

_BOTH = (
    "pyproject.toml",
    "README.md",
    "xfails.txt",
    ".github/workflows/ci.yml",
    "tests/test_kit.py",
)
_DEVICE = ("__init__.py", "info.py", "provider.py", "executable.py", "memory.py")
_TABLE = ("__init__.py", "info.py", "provider.py", "kernels.py")
_SUMMARY = {
    "device": "MatMul + Add + Relu in one call, on a simulated device",
    "table": "a table of NumPy functions, one per operator",
}


SUFFIX = "ExecutionProvider"


def camel(name: str) -> str:
    """Return ``my_npu`` as ``MyNpu``."""
    return "".join(word.capitalize() for word in name.split("_"))


@dataclass(frozen=True, slots=True)
class Project:
    """A new provider: its short name, and its full one as sessions ask for it."""

    name: str
    provider: str = ""
    vendor: str = ""
    kernel_table: bool = False

    @property
    def package(self) -> str:
        """The package that is imported."""
        return f"runtime_ep_{self.name}"

    @property
    def distribution(self) -> str:
        """The distribution that is installed."""
        return self.package.replace("_", "-")

    def files(self) -> dict[str, str]:
        """Return every file's text by its path in the project."""
        kind = "table" if self.kernel_table else "device"
        words = {
            "name": self.name,
            "title": camel(self.name),
            "provider": self.provider or camel(self.name) + SUFFIX,
            "package": self.package,
            "distribution": self.distribution,
            "vendor": self.vendor or camel(self.name),
            "summary": _SUMMARY[kind],
        }
        words["rooms"] = _filled(kind, "rooms.md", words).rstrip()
        made = {path: _filled("both", path, words) for path in _BOTH}
        for module in _TABLE if self.kernel_table else _DEVICE:
            made[f"{self.package}/{module}"] = _filled(kind, module, words)
        made["tests/test_provider.py"] = _filled(kind, "test_provider.py", words)
        return dict(sorted(made.items()))


def _filled(kind: str, path: str, words: dict[str, str]) -> str:
    """Return a template's text with its words filled in."""
    name = path.rpartition("/")[2]
    folder = files("runtime.cli").joinpath("templates", kind)
    text = folder.joinpath(f"{name}.in").read_text(encoding="utf-8")
    return Template(text).substitute(words)
