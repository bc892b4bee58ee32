"""Providers that break the contract, one way each: for the kit to find, the host to bear.

`DEFECTS` names them; ``--ep runtime.testing.hostile:NAME`` puts one under test.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from runtime.abilities import Context
from runtime.cache import CompileCache
from runtime.graph import Graph, Node
from runtime.plugin import (
    HOST,
    Claim,
    Device,
    Option,
    Partition,
    Probe,
    Refusal,
    hookimpl,
)
from runtime.settings import Settings
from runtime.testing import spoiled
from runtime.testing.providers import LOOP, LoopArray, Loopback, LoopTransfer

Answers = Callable[[list[Any]], Iterable[Any]]


class Hostile(Loopback):
    """A loopback that breaks the contract where it is told to.

    ``answers`` changes what get_capability answers, ``run`` makes what runs each
    executable, ``wrap`` what the host sees of one, ``copy`` what a transfer returns;
    ``act`` is called first at its stage.
    """

    def __init__(
        self,
        defect: str,
        answers: Answers = list,
        run: Callable[[], spoiled.Run] | None = None,
        wrap: Callable[[Any], Any] | None = None,
        copy: Callable[[Any], Any] | None = None,
        act: tuple[str, Callable[..., Any]] = ("", spoiled.fail),
        **fields: Any,
    ) -> None:
        title = "".join(word.capitalize() for word in defect.split("_"))
        if copy is not None or act[0] == "data_transfer":
            fields.setdefault("device", LOOP)
        super().__init__(f"{title}ExecutionProvider", **fields)
        self._answers, self._run, self._wrap, self._copy = answers, run, wrap, copy
        self._stage, self._act = act

    @hookimpl
    def get_capability(
        self, graph: Graph, nodes: Sequence[Node], settings: Settings
    ) -> Any:
        """Answer as the CPU's provider does, then spoil it."""
        if self._stage == "get_capability":
            self._act(*nodes)
        found = list(Loopback.get_capability(self, graph, nodes, settings))
        return self._answers(found)

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Any:
        """Have the CPU's provider compile, then spoil it."""
        made = Loopback.compile(self, partition, settings)
        if self._stage == "compile":
            self._act(*partition.nodes)
        return made if self._wrap is None else self._wrap(made)

    def executable(self, made: Any, partition: Partition) -> Any:
        """Run what the CPU's provider made in a way of our own."""
        return made if self._run is None else spoiled.Spoiled(made, self._run())

    @hookimpl
    def data_transfer(self, source: Device, target: Device) -> Any:
        """Copy to the simulated memory and back, and spoil it."""
        if self._stage == "data_transfer":
            self._act()
        found = Loopback.data_transfer(self, source, target)
        if found is None or self._copy is None or target == HOST:
            return found
        return SpoiledTransfer(self._copy)


class SpoiledTransfer(LoopTransfer):
    """A copy to the simulated memory that changes what it copies."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__(LOOP)
        self._change = change

    def __call__(self, value: Any) -> Any:
        """Copy one value, and change it."""
        return LoopArray(self._change(np.array(value, order="C")))


# -- answers -----------------------------------------------------------------------------


def _foreign(answers: list[Any]) -> Iterable[Any]:
    """Claim, besides, a node that nobody offered."""
    stranger = Node("Relu", [], 1, version=14, name="stranger")
    yield Claim((stranger,))
    claims = [answer for answer in answers if isinstance(answer, Claim)]
    for claim in claims[:1]:
        yield Claim((*claim.nodes, stranger), fused=True)
    yield from answers


def _malformed(answers: list[Any]) -> Iterable[Any]:
    """Answer, besides, with what is neither claim nor refusal, or only looks like one."""
    odd: Any = [None, (), ["Relu"], 7]
    yield from ("everything, please", None)
    yield from (Claim(nodes) for nodes in odd)
    yield Claim((), fused=True, body_host=True)
    yield Refusal(odd, "what?")
    for answer in answers:
        if isinstance(answer, Claim):
            yield replace(answer, device="gpu")  # type: ignore[arg-type]
            yield replace(answer, nodes=iter(answer.nodes))  # type: ignore[arg-type]
    yield from answers


def _not_convex(answers: list[Any]) -> Iterable[Any]:
    """Claim every other node, all as one."""
    claims = [a for a in answers if isinstance(a, Claim) and not a.body_host]
    nodes = tuple(node for claim in claims[::2] for node in claim.nodes)
    if nodes:
        yield Claim(nodes, fused=True)


def _greedy(answers: list[Any]) -> Iterable[Any]:
    """Claim whatever is offered, all as one."""
    nodes = [answer.node for answer in answers if isinstance(answer, Refusal)]
    for answer in answers:
        nodes += answer.nodes if isinstance(answer, Claim) else ()
    if nodes:
        yield Claim(nodes, fused=True)


def _nowhere(answers: list[Any]) -> Iterable[Any]:
    """Claim everything for a device that nobody can copy to."""
    for answer in answers:
        known = isinstance(answer, Claim)
        yield replace(answer, device=Device("nowhere")) if known else answer


def _silent(answers: list[Any]) -> Iterable[Any]:
    """Refuse everything but additions, and do not say why."""
    for answer in answers:
        nodes = answer.nodes if isinstance(answer, Claim) else (answer.node,)
        known = isinstance(answer, Claim) and nodes[0].op_type == "Add"
        yield answer if known else Refusal(nodes[0], "")


def _fickle() -> Answers:
    """Answer less each second time."""
    asked = itertools.count()
    return lambda answers: answers[next(asked) % 2 :]


def _note(*nodes: Node) -> None:
    """Leave a mark on nodes that are not ours, another one each time."""
    for node in nodes:
        node.metadata["seen"] = node.metadata.get("seen", "") + "!"


# -- copies ------------------------------------------------------------------------------


def _as_float(array: Any) -> Any:
    """Keep everything as float32."""
    return array.astype(np.float32)


def _as_vector(array: Any) -> Any:
    """Know no scalars."""
    return np.atleast_1d(array)


# -- abilities ---------------------------------------------------------------------------


class Abled:
    """An executable with abilities of our choice beside the honest run."""

    def __init__(self, inner: Any, **abilities: Any) -> None:
        self._inner = inner
        self.weights = dict(inner.weights)
        for name, ability in abilities.items():
            setattr(self, name, ability)

    def run(self, inputs: Any, outputs: Any, context: Any) -> Any:
        """Run once."""
        return self._inner.run(inputs, outputs, context)


class Trimmed(Abled):
    """Gives back, when trimmed, what it needs."""

    trimmed = False

    def trim(self) -> None:
        """Forget how to run."""
        self.trimmed = True

    def run(self, inputs: Any, outputs: Any, context: Any) -> Any:
        """Run once, unless trimmed."""
        return None if self.trimmed else super().run(inputs, outputs, context)


def _raising(name: str) -> Callable[[Any], Any]:
    """Return what gives an executable one ability that raises."""
    return lambda made: Abled(made, **{name: spoiled.fail})


class Sharing(Abled):
    """Runs what it has prepared into the same arrays each time."""

    _nothing: tuple[None, ...] = ()

    def run(self, inputs: Any, outputs: Any, context: Any) -> Any:
        """Run once."""
        self._nothing = (None,) * len(outputs)
        return super().run(inputs, outputs, context)

    def prepared(self, inputs: Any) -> Any:
        """Return what always returns the same arrays."""
        made = self._inner.run(inputs, self._nothing, Context())

        def run(given: Any) -> Any:
            for old, new in zip(
                made, self._inner.run(given, self._nothing, Context()), strict=True
            ):
                old[...] = new
            return made

        return run


class Boasting(Abled):
    """Vouches for prepared runs that look at nothing."""

    def prepared(self, inputs: Any) -> Any:
        """Return what runs whatever it is given."""

        def run(given: Any) -> Any:
            arrays = [np.asarray(value, inputs[0].dtype) for value in given]
            return self._inner.run(arrays, (None,) * self._count, Context())

        run.vouches = True  # type: ignore[attr-defined]
        return run

    _count = 1


class Unreadable(Abled):
    """Raises when it is asked for a fact."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    weights = facts = property(spoiled.fail)


def _stale(settings: Settings, partition: Partition) -> spoiled.Run | None:
    """Return a wrong run where the cache has anything at all."""
    cache = CompileCache.of(settings)
    known = cache.get("0" * 40)
    cache.put("0" * 40, b"compiled")
    return spoiled.wrong_value() if known else None


class Caching(Hostile):
    """Finds in the cache, the second time, what was made of something else."""

    @hookimpl
    def compile(self, partition: Partition, settings: Settings) -> Any:
        """Compile, or take from the cache whatever lies there."""
        made = Loopback.compile(self, partition, settings)
        run = _stale(settings, partition) if settings.cache else None
        return made if run is None else spoiled.Spoiled(made, run)


def _with_thread() -> Probe:
    """Start a thread that a fork would not have."""
    threading.Thread(target=spoiled.hang, daemon=True).start()
    return Probe((HOST,))


def _slowly() -> Probe:
    time.sleep(0.3)
    return Probe((HOST,))


def _number(value: Any) -> None:
    if value < 1:
        raise ValueError("at least 1")


_BAD_DEFAULT = {"streams": Option(int, 0, "how many", check=_number)}
_BAD_SPELLING = {"mode": Option(("fast", "exact"), "quick", "how")}

_RUNS = (
    spoiled.wrong_dtype,
    spoiled.wrong_shape,
    spoiled.wrong_value,
    spoiled.scalars,
    spoiled.bare,
    spoiled.too_many,
    spoiled.nothing,
    spoiled.returns_inputs,
    spoiled.keeps_buffers,
    spoiled.keeps_arena,
    spoiled.writes_inputs,
    spoiled.leaks,
    spoiled.unsafe,
    spoiled.fragile,
    spoiled.frozen,
    spoiled.fears_nothing,
    spoiled.linear,
    spoiled.deaf,
)
STAGES = ("probe", "get_capability", "compile", "data_transfer", "run")
ABILITIES = ("prepared", "close", "trim", "memory", "export", "cancel")


def _at(stage: str, act: Callable[..., Any]) -> Callable[[str], Hostile]:
    """Return what makes a provider that does something at one stage."""
    if stage == "probe":
        return partial(Hostile, probe=act)
    if stage == "run":
        return partial(Hostile, wrap=lambda made: act)
    return partial(Hostile, act=(stage, act))


DEFECTS: dict[str, Callable[[str], Hostile]] = {
    **{run.__name__: partial(Hostile, run=run) for run in _RUNS},
    **{f"raises_in_{stage}": _at(stage, spoiled.fail) for stage in STAGES},
    **{f"hangs_in_{stage}": _at(stage, spoiled.hang) for stage in STAGES},
    **{
        f"raises_in_{name}": partial(Hostile, wrap=_raising(name)) for name in ABILITIES
    },
    "foreign": partial(Hostile, answers=_foreign),
    "malformed": partial(Hostile, answers=_malformed),
    "twice": partial(Hostile, answers=lambda answers: [*answers, *answers]),
    "claims_too_much": partial(
        Hostile, answers=_greedy, act=("compile", spoiled.lacks)
    ),
    "not_convex": partial(Hostile, answers=_not_convex),
    "nowhere": partial(Hostile, answers=_nowhere),
    "silent": partial(Hostile, answers=_silent),
    "fickle": lambda name: Hostile(name, answers=_fickle()),
    "edits_when_asked": partial(Hostile, act=("get_capability", _note)),
    "edits_when_compiling": partial(Hostile, act=("compile", _note)),
    "writes_in_place": partial(Hostile, wrap=lambda made: spoiled.writes_in_place),
    "not_callable": partial(Hostile, wrap=lambda made: 42),
    "compiles_nothing": partial(Hostile, wrap=lambda made: None),
    "loses_dtype": partial(Hostile, copy=_as_float),
    "loses_scalars": partial(Hostile, copy=_as_vector),
    "copies_nothing": partial(Hostile, copy=lambda array: None),
    "unreadable": partial(Hostile, wrap=Unreadable),
    "prepares_once": partial(Hostile, wrap=Sharing),
    "vouches_wrongly": partial(Hostile, wrap=Boasting),
    "trims_too_much": partial(Hostile, wrap=Trimmed),
    "counts_badly": partial(Hostile, wrap=lambda made: Abled(made, memory=lambda: -1)),
    "stale_cache": Caching,
    "slow_probe": partial(Hostile, probe=_slowly),
    "probe_starts_thread": partial(Hostile, probe=_with_thread),
    "probe_answers_nothing": partial(Hostile, probe=lambda: None),
    "bad_default": partial(Hostile, options=_BAD_DEFAULT),
    "bad_spelling": partial(Hostile, options=_BAD_SPELLING),
}


@cache
def make(defect: str) -> Hostile:
    """Return the provider with a defect."""
    return DEFECTS[defect](defect)


def __getattr__(name: str) -> Any:
    if name in DEFECTS:
        return make(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
