"""`runtime compile` with a provider that cannot run here, but compile."""

from contextlib import contextmanager
from dataclasses import replace

import onnx
from doubles import Saving
from runtime.cli.exits import Exit
from runtime.errors import ProviderUnavailable
from runtime.plugin import Probe
from runtime.providers import registry

NAME = "FarawayExecutionProvider"


class Faraway(Saving):
    """Has no device, and says so; while it compiles ahead, another takes its place."""

    def __init__(self, fails=False):
        super().__init__(NAME, ["MatMul", "Add"])
        self.info = replace(self.info, probe=lambda: Probe(reason="it is far away"))
        self.inside = 0
        self.fails = fails

    @contextmanager
    def compiling_ahead(self):
        if self.fails:
            raise ProviderUnavailable("its compiler is far away, too")
        before = registry.all()[NAME]
        here = Saving(NAME, ["MatMul", "Add"])
        registry.register(here, here.info, NAME)
        self.inside += 1
        try:
            yield
        finally:
            registry.register(before.object, before.info, NAME)


def contexts(path):
    nodes = onnx.load(path).graph.node
    return [node.op_type for node in nodes].count("EPContext")


def test_it_compiles_and_is_itself_again_afterwards(call, model, registered):
    provider = Faraway()
    registered(provider)
    result = call("compile", model, "-p", "faraway", "-o", "out.onnx", "--json")
    assert result.code == Exit.OK, result.err
    assert result.data["compiled"] == {NAME: 1}
    assert contexts("out.onnx") == 1
    assert provider.inside == 1
    assert registry.all()[NAME].object is provider
    assert not registry.all()[NAME].probe().usable


def test_one_that_cannot_compile_either_is_told_as_ever(call, model, registered):
    registered(Faraway(fails=True))
    result = call("compile", model, "-p", "faraway", "-o", "out.onnx")
    assert result.code == Exit.OK
    assert "it is far away" in result.err
    assert contexts("out.onnx") == 0


def test_one_that_can_run_is_not_asked(call, model, registered):
    class Near(Saving):
        def compiling_ahead(self):
            raise AssertionError("asked")

    registered(Near(NAME, ["MatMul", "Add"]))
    result = call("compile", model, "-p", "faraway", "-o", "out.onnx", "--json")
    assert result.data["compiled"] == {NAME: 1}
