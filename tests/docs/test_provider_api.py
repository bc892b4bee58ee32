"""The reference of the provider API names everything, with the signatures of the code."""

import dataclasses
import importlib.util
import inspect
from pathlib import Path

import pytest
from runtime import abilities, plugin

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference/provider-api.md").read_text(encoding="utf-8")
ABILITIES = [
    name
    for name, value in vars(abilities).items()
    if inspect.isclass(value) and value.__module__ == "runtime.abilities"
]
NAMES = [(plugin, name) for name in plugin.__all__]
NAMES += [(abilities, name) for name in ABILITIES]


def section(name):
    """Return what the page says about a name, its methods included."""
    _, found, rest = PAGE.partition(f"\n### {name}\n")
    assert found, f"{name} is not documented"
    return rest.split("\n### ")[0].split("\n## ")[0]


def test_the_page_is_current():
    path = DOCS / "generate_provider_api.py"
    spec = importlib.util.spec_from_file_location("generate_provider_api", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == PAGE, "run python docs/generate_provider_api.py"


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_name_is_there_with_its_fields_and_methods(module, name):
    told, value = section(name), getattr(module, name)
    if not inspect.isclass(value):
        return
    assert inspect.getdoc(value).split("``")[0] in told
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            assert f"{field.name}: {field.type}" in told
    for key, member in vars(value).items():
        if key.startswith("_") and key != "__call__":
            continue
        if inspect.isfunction(member):
            given = [
                f"{one.name}: {one.annotation}"
                for one in list(inspect.signature(member).parameters.values())[1:]
            ]
            signature = told.split(f"\n{key}(")[1].split("```")[0]
            places = [signature.index(text) for text in given]
            assert places == sorted(places)


def test_the_hooks_that_return_one_answer_say_so():
    told = section("ProviderSpec")
    assert "@hookspec(firstresult=True)\ncompile(" in told
    assert "@hookspec\nget_capability(" in told
