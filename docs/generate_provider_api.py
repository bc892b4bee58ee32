"""Writes the reference of the provider API from the source of the modules that are it.

usage: python docs/generate_provider_api.py
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from runtime import abilities, plugin

TARGET = Path(__file__).parent / "reference" / "provider-api.md"
HEAD = """# The provider API

Made by `docs/generate_provider_api.py` from `runtime/plugin.py` and `runtime/abilities.py`; do
not edit. Version {version}. [Write an execution provider](../tutorials/write-a-provider.md)
explains it by example, with the promises about versions.
"""
PLUGIN = """## runtime.plugin

What a provider and the core exchange. The hooks are the methods of `ProviderSpec`; a provider
marks its own with `hookimpl`, and may leave out arguments it does not need.
"""
ABILITIES = """## runtime.abilities

What an executable or a transfer may be able to do beyond the minimum. Each is a protocol:
having the methods is enough, there is nothing to inherit. `Context` is what a run hands to an
executable.
"""
WIDTH = 88


def page() -> str:
    """Return the whole page."""
    version = "{}.{}".format(*plugin.API_VERSION)
    parts = [HEAD.format(version=version), PLUGIN, *_module(plugin, plugin.__all__)]
    parts += [ABILITIES, *_module(abilities, public(abilities))]
    return "\n".join(parts)


def public(module: ModuleType) -> list[str]:
    """Return the names a module without ``__all__`` defines, in order."""
    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    ]


def _module(module: ModuleType, names: list[str]) -> Iterator[str]:
    body = ast.parse(inspect.getsource(module)).body
    found = {name: (at, node) for at, node in enumerate(body) for name in _named(node)}
    for name in sorted(names, key=lambda name: found[name][0]):
        at, node = found[name]
        if isinstance(node, ast.ClassDef):
            yield _class(node)
        else:
            doc = _docstring(body[at + 1] if at + 1 < len(body) else None)
            yield _section(f"### {name}", ast.unparse(node), doc)


def _named(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _class(node: ast.ClassDef) -> str:
    """Return a class: how it is made, what it is, and its methods."""
    parts = [_section(f"### {node.name}", _made(node), ast.get_docstring(node) or "")]
    record = _is_dataclass(node)
    for at, item in enumerate(node.body):
        title = f"#### {node.name}.{getattr(item, 'name', '')}"
        if isinstance(item, ast.FunctionDef) and _is_public(item.name):
            parts.append(_section(title, _method(item), ast.get_docstring(item) or ""))
        elif isinstance(item, ast.AnnAssign) and not record:
            doc = _docstring(node.body[at + 1] if at + 1 < len(node.body) else None)
            field = ast.unparse(item)
            parts.append(_section(f"{title}{ast.unparse(item.target)}", field, doc))
    return "\n".join(parts)


def _is_public(name: str) -> bool:
    return name == "__call__" or not name.startswith("_")


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)


def _made(node: ast.ClassDef) -> str:
    """Return a dataclass's constructor, or another class's name and bases."""
    if not _is_dataclass(node):
        bases = ", ".join(map(ast.unparse, node.bases))
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return _call(node.name, [_field(item) for item in fields], "")


def _field(item: ast.AnnAssign) -> str:
    """Return a field as a parameter; a factory is shown as the call it makes."""
    told = f"{ast.unparse(item.target)}: {ast.unparse(item.annotation)}"
    default = item.value
    if isinstance(default, ast.Call) and default.keywords:
        return f"{told} = {ast.unparse(default.keywords[0].value)}()"
    return f"{told} = {ast.unparse(default)}" if default is not None else told


def _method(node: ast.FunctionDef) -> str:
    returns = ast.unparse(node.returns) if node.returns is not None else ""
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    if "property" in marks:
        return f"{node.name}: {returns}"
    shown = [f"@{mark}" for mark in marks if "hookspec" in mark]
    given = node.args.args[1:]
    count = len(given) - len(node.args.defaults)
    defaults = [None] * count + list(node.args.defaults)
    parameters = [
        ast.unparse(one) + (f" = {ast.unparse(value)}" if value is not None else "")
        for one, value in zip(given, defaults, strict=True)
    ]
    return "\n".join([*shown, _call(node.name, parameters, returns)])


def _call(name: str, parameters: list[str], returns: str) -> str:
    """Return a signature, a parameter to a line where it would be too long."""
    result = f" -> {returns}" if returns else ""
    line = f"{name}({', '.join(parameters)}){result}"
    if len(line) <= WIDTH:
        return line
    lines = "".join(f"    {parameter},\n" for parameter in parameters)
    return f"{name}(\n{lines}){result}"


def _docstring(node: ast.stmt | None) -> str:
    """Return the string that stands below an assignment and explains it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def _section(title: str, code: str, doc: str) -> str:
    text = doc.replace("``", "`")
    return f"{title}\n\n```text\n{code}\n```\n" + (f"\n{text}\n" if text else "")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
