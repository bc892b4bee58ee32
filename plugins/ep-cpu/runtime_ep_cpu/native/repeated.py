"""What Loop and Scan say: which values of the body are states, slices and results."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.graph import Graph, Node, Value


@dataclass(frozen=True, slots=True)
class State:
    """A value carried from round to round."""

    first: Value
    given: Value
    made: Value
    last: Value | None


@dataclass(frozen=True, slots=True)
class Slices:
    """A value of which each round is given a slice along an axis, or makes one."""

    whole: Value | None
    slice: Value
    axis: int
    backwards: bool


@dataclass(frozen=True, slots=True)
class Repeated:
    """A Loop or a Scan.

    ``number`` and ``going`` are what Loop's body is given of the round's number and the
    condition, ``condition`` what it makes of it; ``trips`` and ``start`` the loop's own
    inputs for both. ``obeyed`` is whether the body's condition counts.
    """

    node: Node
    body: Graph
    states: tuple[State, ...]
    given: tuple[Slices, ...]
    made: tuple[Slices, ...]
    number: Value | None = None
    going: Value | None = None
    condition: Value | None = None
    trips: Value | None = None
    start: Value | None = None

    @property
    def obeyed(self) -> bool:
        """Whether the body's condition counts: with a number of rounds alone it does not."""
        return self.condition is not None and (
            self.start is not None or self.trips is None
        )


def repeated(node: Node) -> Repeated | None:
    """Return what a node says, if it is a Loop or a Scan whose signature is whole."""
    if node.domain or len(node.bodies) != 1:
        return None
    try:
        if node.op_type == "Loop":
            return _loop(node)
        if node.op_type == "Scan" and node.version >= 9:
            return _scan(node)
    except ValueError:
        pass
    return None


def _loop(node: Node) -> Repeated:
    ((_, body),) = node.bodies
    firsts = _all(node.inputs[2:])
    number, going, *given = body.feeds
    condition, *made = body.outputs
    count = len(firsts)
    wholes = _outputs(node, len(made))
    return Repeated(
        node,
        body,
        _states(firsts, given, made[:count], wholes[:count]),
        (),
        tuple(
            Slices(whole, value, 0, False)
            for value, whole in zip(made[count:], wholes[count:], strict=True)
        ),
        number,
        going,
        condition,
        node.input(0),
        node.input(1),
    )


def _scan(node: Node) -> Repeated:
    ((_, body),) = node.bodies
    inputs = _all(node.inputs)
    scans = int(node.attribute("num_scan_inputs", 0))
    count = len(inputs) - scans
    given, made = list(body.feeds), list(body.outputs)
    if not 0 < scans <= len(inputs) == len(given):
        raise ValueError("a Scan's body is given what the Scan is")
    wholes = _outputs(node, len(made))
    return Repeated(
        node,
        body,
        _states(inputs[:count], given[:count], made[:count], wholes[:count]),
        _slices(node, "scan_input", inputs[count:], given[count:]),
        _slices(node, "scan_output", wholes[count:], made[count:]),
    )


def _all(values: tuple[Value | None, ...]) -> list[Value]:
    found = [value for value in values if value is not None]
    if len(found) != len(values):
        raise ValueError("a state or slice is absent")
    return found


def _outputs(node: Node, count: int) -> list[Value | None]:
    """Return the outputs, ``None`` for those that nobody wants."""
    named = [v if v.name or v.uses else None for v in node.outputs]
    if len(named) > count:
        raise ValueError("a node has more outputs than its body")
    return [*named, *[None] * (count - len(named))]


def _states(
    firsts: list[Value],
    given: list[Value],
    made: list[Value],
    lasts: list[Value | None],
) -> tuple[State, ...]:
    rows = zip(firsts, given, made, lasts, strict=True)
    return tuple(State(*row) for row in rows)


def _slices(
    node: Node,
    word: str,
    wholes: list[Value] | list[Value | None],
    values: list[Value],
) -> tuple[Slices, ...]:
    nothing = [0] * len(values)
    axes = list(node.attribute(f"{word}_axes", nothing))
    ways = list(node.attribute(f"{word}_directions", nothing))
    if not set(ways) <= {0, 1}:
        raise ValueError(f"directions {ways} are not all 0 or 1")
    rows = zip(wholes, values, axes, ways, strict=True)
    return tuple(Slices(w, v, int(a), bool(way)) for w, v, a, way in rows)
