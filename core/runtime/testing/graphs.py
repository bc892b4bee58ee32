"""Random models, the same for the same seed, whose results stay well conditioned."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.testing.samples import BOOL, FLOAT, INT64, Kind, graph, model, node

SHAPE = [2, 3, 4]
UNARY = ("Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Erf", "Softplus", "Identity")
BINARY = ("Add", "Sub", "Max", "Min")
INPUTS: dict[str, Kind] = {
    "x0": (FLOAT, list(SHAPE)),
    "x1": (FLOAT, list(SHAPE)),
    "k": (INT64, list(SHAPE)),
}


class _Writer:
    """Adds one random step after another; every float value has the same shape."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.floats = ["x0", "x1"]
        self.integers = ["k"]
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def pick(self, names: list[str]) -> str:
        return str(self.rng.choice(names))

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [name], name=f"n_{name}", **attributes))
        return name

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def weights(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(-0.5, 0.5, shape).astype(np.float32))

    def step(self) -> None:
        """Add one step of a random kind."""
        kinds = (
            self._unary, self._unary, self._binary, self._binary, self._binary,
            self._product, self._transposed, self._reduced, self._joined,
            self._chosen, self._integer,
        )  # fmt: skip
        kinds[int(self.rng.integers(len(kinds)))]()

    def _unary(self) -> None:
        op = self.pick(list(UNARY))
        self.floats.append(self.add(op, [self.pick(self.floats)]))

    def _binary(self) -> None:
        other = self.pick(self.floats)
        if self.rng.random() < 0.3:
            other = self.weights(*SHAPE[int(self.rng.integers(3)) :])
        inputs = [self.pick(self.floats), other]
        self.floats.append(self.add(self.pick(list(BINARY)), inputs))

    def _product(self) -> None:
        made = self.add("MatMul", [self.pick(self.floats), self.weights(4, 4)])
        self.floats.append(made)

    def _transposed(self) -> None:
        made = self.add("Transpose", [self.pick(self.floats)], perm=[0, 2, 1])
        made = self.add("Relu" if self.rng.random() < 0.5 else "Neg", [made])
        self.floats.append(self.add("Transpose", [made], perm=[0, 2, 1]))

    def _reduced(self) -> None:
        source = self.pick(self.floats)
        mean = self.add("ReduceMean", [source], axes=[2], keepdims=1)
        self.floats.append(self.add("Sub", [source, mean]))

    def _joined(self) -> None:
        both = [self.pick(self.floats), self.pick(self.floats)]
        joined = self.add("Concat", both, axis=1)
        starts, ends, axes = (self.constant(np.array([n])) for n in (1, 4, 1))
        self.floats.append(self.add("Slice", [joined, starts, ends, axes]))

    def _chosen(self) -> None:
        mask = self.add("Less", ["x0", "x1"])
        inputs = [mask, self.pick(self.floats), self.pick(self.floats)]
        self.floats.append(self.add("Where", inputs))

    def _integer(self) -> None:
        inputs = [self.pick(self.integers), self.pick(self.integers)]
        made = self.add(self.pick(["Add", "Sub", "Max"]), inputs)
        self.integers.append(made)
        if self.rng.random() < 0.5:
            self.floats.append(self.add("Cast", [made], to=FLOAT))


def random_model(seed: int, size: int = 20) -> bytes:
    """Return a random acyclic model of some 20 operators with several outputs."""
    writer = _Writer(seed)
    for _ in range(size):
        writer.step()
    made = [name for name in writer.floats if name.startswith("v")] or ["x0"]
    names = sorted({*made[-2:], writer.pick(made)} - {"x0"})
    outputs: dict[str, Kind] = {name: (FLOAT, list(SHAPE)) for name in names}
    if len(writer.integers) > 1:
        outputs[writer.integers[-1]] = (INT64, list(SHAPE))
    return model(writer.nodes, INPUTS, outputs, writer.constants)


def random_feed(seed: int) -> dict[str, Any]:
    """Return data for a random model."""
    rng = np.random.default_rng(seed)
    return {
        "x0": rng.uniform(-1, 1, SHAPE).astype(np.float32),
        "x1": rng.uniform(-1, 1, SHAPE).astype(np.float32),
        "k": rng.integers(-9, 9, SHAPE),
    }


def _body(seed: int, name: str) -> Any:
    """Return a body without inputs that reads the outer ``x0`` and ``x1``."""
    writer = _Writer(seed)
    for _ in range(6):
        writer.step()
    last = [v for v in writer.floats if v.startswith("v")][-1:] or ["x0"]
    renamed = {v: f"{name}_{v}" for n in writer.nodes for v in n.output}
    renamed |= {c: f"{name}_{c}" for c in writer.constants}
    for item in writer.nodes:
        item.input[:] = [renamed.get(v, v) for v in item.input]
        item.output[:] = [renamed[v] for v in item.output]
    out = node("Tanh", [renamed.get(last[0], last[0])], [f"{name}_out"])
    constants = {renamed[c]: array for c, array in writer.constants.items()}
    outputs: dict[str, Kind] = {f"{name}_out": (FLOAT, list(SHAPE))}
    return graph([*writer.nodes, out], {}, outputs, constants)


def random_branches(seed: int) -> bytes:
    """Return a model with an If whose bodies are random and read values from outside."""
    body = {"then_branch": _body(seed, "then"), "else_branch": _body(seed + 1, "else")}
    nodes = [
        node("ReduceSum", ["x0"], ["sum"], keepdims=0),
        node("Less", ["sum", "zero"], ["negative"]),
        node("If", ["negative"], ["chosen"], **body),
        node("Add", ["chosen", "x1"], ["y"]),
    ]
    outputs: dict[str, Kind] = {"y": (FLOAT, list(SHAPE))}
    return model(nodes, INPUTS, outputs, {"zero": np.float32(0)})


def random_loop(seed: int) -> bytes:
    """Return a model with a Loop that carries a value and stacks what each pass makes."""
    rng = np.random.default_rng(seed)
    op = str(rng.choice(BINARY))
    body = graph(
        [
            node("Identity", ["going"], ["go"]),
            node(op, ["carried", "x1"], ["changed"]),
            node("Tanh", ["changed"], ["next"]),
            node("ReduceMean", ["next"], ["mean"], axes=[2], keepdims=0),
        ],
        {"i": (INT64, []), "going": (BOOL, []), "carried": (FLOAT, list(SHAPE))},
        {
            "go": (BOOL, []),
            "next": (FLOAT, list(SHAPE)),
            "mean": (FLOAT, SHAPE[:2]),
        },
    )
    nodes = [
        node("Relu", ["x0"], ["start"]),
        node("Loop", ["times", "", "start"], ["last", "means"], body=body),
        node("Neg", ["last"], ["y"]),
    ]
    outputs: dict[str, Kind] = {
        "y": (FLOAT, list(SHAPE)),
        "means": (FLOAT, ["times", *SHAPE[:2]]),
    }
    return model(nodes, INPUTS, outputs, {"times": np.int64(int(rng.integers(1, 5)))})


def random_sequence(seed: int) -> bytes:
    """Return a model that puts tensors into a sequence and takes them out again."""
    rng = np.random.default_rng(seed)
    ops = [str(op) for op in rng.choice(UNARY[:5], 3)]
    nodes = [
        node(ops[0], ["x0"], ["a"]),
        node(ops[1], ["x1"], ["b"]),
        node("SequenceConstruct", ["a", "b"], ["s"]),
        node("Add", ["a", "b"], ["c"]),
        node("SequenceInsert", ["s", "c"], ["t"]),
        node("SequenceAt", ["t", "place"], ["picked"]),
        node(ops[2], ["picked"], ["y"]),
        node("ConcatFromSequence", ["t"], ["all"], axis=1),
        node("SequenceLength", ["t"], ["length"]),
    ]
    outputs: dict[str, Kind] = {
        "y": (FLOAT, list(SHAPE)),
        "all": (FLOAT, None),
        "length": (INT64, []),
    }
    place = np.int64(int(rng.integers(3)))
    return model(nodes, INPUTS, outputs, {"place": place})
