"""Computes a float32 subgraph in halves: casts are put in, constants converted once.

TensorRT 11 takes every element type from the model and none from its builder, and 10 can
be told to. So precision is written into the model: inputs and outputs keep their types,
islands stay in float32, and in between each value is in one type, or has been cast to the
other one once, for all who read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from onnx import ModelProto, NodeProto, numpy_helper

from runtime_ep_tensorrt.facts import (
    FLOAT,
    Facts,
    bodies,
    lift_constants,
    names_in,
)
from runtime_ep_tensorrt.islands import BF16, FP16, Half, Islands, Wishes, convertible

__all__ = ["BF16", "FP16", "Converted", "Half", "Wishes", "autocast"]


@dataclass(slots=True)
class Converted:
    """A model in halves, and what was done.

    ``islands`` are the nodes left in float32, with the reason; ``casts`` how many were
    put in.
    """

    model: ModelProto
    islands: dict[str, str] = field(default_factory=dict)
    halves: int = 0
    casts: int = 0


def autocast(model: ModelProto, half: Half, wishes: Wishes | None = None) -> Converted:
    """Return a model computed in halves wherever that is harmless; the first is unchanged.

    Raises ``ValueError`` where the types of the model cannot be told.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    lift_constants(copy)
    facts = Facts(copy)
    chosen = Islands(facts, half, wishes or Wishes())
    writer = _Writer(facts, half)
    for node, reason in zip(facts.nodes, chosen.reasons, strict=True):
        writer.write(node, not reason)
    return writer.finish(copy, chosen.reasons)


class _Writer:
    """Writes nodes in order, each value's casts in front of the first who needs them.

    ``wide`` and ``narrow`` hold under which name a value of the source is to be had in
    float32 and in halves. In float32 that is its own name, so that bodies and outputs
    need nothing.
    """

    def __init__(self, facts: Facts, half: Half) -> None:
        self._facts = facts
        self._half = half
        self._taken = set(facts.names)
        self._wide: dict[str, str] = {
            name: name for name in (*facts.inputs, *facts.constants)
        }
        self._narrow: dict[str, str] = {}
        self._constants: list[onnx.TensorProto] = []
        self._nodes: list[NodeProto] = []
        self.casts = 0

    def write(self, node: NodeProto, narrow: bool) -> None:
        """Write one node in the type that was chosen for it."""
        written = NodeProto()
        written.CopyFrom(node)
        if node.op_type in ("Cast", "Shape", "Size") and not node.domain:
            if self._read_either(written):
                return
            if node.op_type == "Cast" and self._is_float(node.input[0], node.output[0]):
                written.op_type = "Identity"
                del written.attribute[:]
        self._read(written, node, narrow)
        for index, name in enumerate(node.output):
            if narrow and self._is_float(name):
                written.output[index] = self._narrow[name] = self._named(name)
            elif self._is_float(name):
                self._wide[name] = name
        self._nodes.append(written)

    def _is_float(self, *names: str) -> bool:
        return all(map(self._facts.is_float, names))

    def _read(self, written: NodeProto, node: NodeProto, narrow: bool) -> None:
        """Put in under which names a node reads its inputs, and have them made."""
        own = set(convertible(node, self._facts)) if narrow else set()
        for index, name in enumerate(node.input):
            if self._is_float(name):
                known = self.narrow(name) if name in own else self.wide(name)
                written.input[index] = known
        for body in bodies(node):
            for name in sorted(names_in(body) & self._narrow.keys()):
                self.wide(name)

    def _read_either(self, written: NodeProto) -> bool:
        """Write what reads a value in any type, or makes one type of the other."""
        source, result = written.input[0], written.output[0]
        types, code = self._facts.types, self._half.code
        if written.op_type == "Cast" and self._is_float(result):
            if types.get(source) == code:
                self._narrow[result] = source
            return types.get(source) == code
        if not self._is_float(source):
            return False
        halves = written.op_type == "Cast" and types.get(result) == code
        if halves and source in self._narrow:
            written.op_type = "Identity"
            del written.attribute[:]
        wide = source in self._wide and not (halves and source in self._narrow)
        written.input[0] = self._wide[source] if wide else self._narrow[source]
        if halves:
            self._narrow.setdefault(source, result)
        self._nodes.append(written)
        return True

    def narrow(self, name: str) -> str:
        """Return under which name a value is to be had in halves."""
        known = self._narrow.get(name)
        if known is None:
            known = self._narrow[name] = self._named(name)
            if name in self._facts.constants:
                self._convert(name, known)
            else:
                self._put(self._wide[name], known, self._half.code)
        return known

    def wide(self, name: str) -> str:
        """Return under which name a value is to be had in float32."""
        if name not in self._wide:
            self._put(self._narrow[name], name, FLOAT)
            self._wide[name] = name
        return self._wide[name]

    def _convert(self, name: str, low: str) -> None:
        array = numpy_helper.to_array(self._facts.constants[name])
        halves = array.astype(self._half.dtype)
        self._constants.append(numpy_helper.from_array(halves, low))

    def _put(self, source: str, result: str, code: int) -> None:
        self._nodes.append(
            onnx.helper.make_node("Cast", [source], [result], f"{result}/cast", to=code)
        )
        self.casts += 1

    def _named(self, name: str) -> str:
        fresh = f"{name}/half"
        while fresh in self._taken:
            fresh += "_"
        self._taken.add(fresh)
        return fresh

    def finish(self, model: ModelProto, reasons: list[str]) -> Converted:
        """Put everything into the model."""
        for name in self._facts.outputs:
            if self._facts.is_float(name):
                self.wide(name)
        graph = model.graph
        read = {name for node in self._nodes for name in node.input}
        read.update(self._facts.outputs, self._facts.inputs)
        for node in self._nodes:
            read.update(*map(names_in, bodies(node)))
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        kept += [t for t in self._constants if t.name in read]
        islands = {
            node.name or node.output[0]: reason
            for node, reason in zip(self._facts.nodes, reasons, strict=True)
            if reason
        }
        copies = [onnx.TensorProto.FromString(t.SerializeToString()) for t in kept]
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(copies)
        return Converted(model, islands, reasons.count(""), self.casts)
