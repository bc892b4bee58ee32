"""What a group did for some shapes, done again in other memory without planning it anew.

A plan for another shape is mostly like the last one: where a sequence grows by a token,
few groups see it. A step's work depends on nothing but what it asks the planner for, so
that is noted; where the answers are the same, its actions are repeated over the buffers
that are there now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from runtime.graph import Value

from runtime_ep_cuda.actions import Action, Array, Chosen, Tail, Unplannable
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.tensor import Buffer, Tensor

if TYPE_CHECKING:
    from runtime_ep_cuda.planner import Planner

MOST_RECORDS = 3
"""How many different things a group did are remembered, the oldest forgotten first."""

Question = tuple[str, Value, Any]
"""The planner's method that was asked, about which value, and what else it was told."""


@dataclass(slots=True)
class Log:
    """What a step asks for and makes, noted while it plans.

    ``first`` is the number of its first action; ``constants`` are arrays that the plan
    alone needs, with their tensors; ``derived`` is what other groups may use, too, and
    ``later`` what is made where it is read.
    """

    first: int
    answers: dict[Question, Any] = field(default_factory=dict)
    made: dict[Value, Tensor] = field(default_factory=dict)
    constants: list[tuple[Tensor, Array]] = field(default_factory=list)
    derived: dict[tuple[str, Value], Tensor] = field(default_factory=dict)
    later: dict[Value, Any] = field(default_factory=dict)

    def reads(self, question: Question, answer: Any) -> None:
        """Note an answer, unless the step has made the value itself."""
        if question[1] not in self.made:
            self.answers.setdefault(question, answer)


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    answers: Mapping[Question, Any]
    made: Mapping[Value, Tensor]
    constants: Sequence[tuple[Tensor, Array]]
    derived: Mapping[tuple[str, Value], Tensor]
    later: Mapping[Value, Any]
    actions: Sequence[Action]


class Recall:
    """The records of a program's groups."""

    def __init__(self) -> None:
        self._records: dict[Group, list[_Record]] = {}

    def remember(self, group: Group, log: Log, actions: Sequence[Action]) -> None:
        """Keep what a group has just done."""
        records = self._records.setdefault(group, [])
        made = _Record(
            log.answers,
            log.made,
            log.constants,
            log.derived,
            log.later,
            actions[log.first :],
        )
        records.insert(0, made)
        del records[MOST_RECORDS:]

    def again(self, planner: Planner, group: Group) -> bool:
        """Do what a group did before, if it would do the same now; tell whether."""
        for record in self._records.get(group, ()):
            buffers = _buffers(planner, record)
            if buffers is not None:
                _repeat(planner, record, buffers)
                return True
        return False


def _buffers(planner: Planner, record: _Record) -> dict[Buffer, Buffer] | None:
    """Return which buffers stand for those of a record, or ``None`` if answers differ."""
    found: dict[Buffer, Buffer] = {}
    for question, answer in record.answers.items():
        try:
            now = _asked(planner, question)
        except Unplannable:
            return None
        if not _alike(now, answer):
            return None
        if isinstance(answer, Tensor):
            buffer = found.setdefault(answer.buffer, now.buffer)
            if buffer is not now.buffer:
                return None
    return found


def _asked(planner: Planner, question: Question) -> Any:
    """Ask a question again; what others have derived is not made for it."""
    what, value, more = question
    if what == "derived":
        return planner.derivations.get((more, value))
    return getattr(planner, what)(value, *(() if more is None else (more,)))


def _alike(one: Any, other: Any) -> bool:
    """Whether two answers are the same; of tensors, wherever they are."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return bool(
            one.shape == other.shape
            and one.strides == other.strides
            and one.offset == other.offset
            and one.dtype == other.dtype
        )
    if isinstance(one, np.ndarray):
        return one is other or bool(
            one.dtype == other.dtype and np.array_equal(one, other)
        )
    return bool(one == other)


def _repeat(planner: Planner, record: _Record, buffers: dict[Buffer, Buffer]) -> None:
    """Add a record's actions and results, over other buffers."""
    for tensor, array in record.constants:
        buffers[tensor.buffer] = planner.constant(array).buffer
    moved = _Moved(buffers)
    for action in record.actions:
        planner.actions.append(Action(moved.work(action.work), action.group))
    for value, later in record.later.items():
        planner.define_later(value, later)
    for (word, value), tensor in record.derived.items():
        planner.derivations[word, value] = moved(tensor)
    for value, tensor in record.made.items():
        made = moved(tensor)
        planner.define(value, made)
        if made.buffer.role == "output" and made.buffer.note == value.name:
            planner.outputs[value] = made


class _Moved:
    """Tensors and work in other memory: of given buffers, the same weights, or new."""

    def __init__(self, buffers: dict[Buffer, Buffer]) -> None:
        self._buffers = buffers

    def __call__(self, tensor: Tensor) -> Tensor:
        old = tensor.buffer
        new = self._buffers.get(old)
        if new is None:
            is_weight = old.role == "weight"
            new = old if is_weight else Buffer(old.size, old.role, 0, old.note)
            self._buffers[old] = new
        if new is old:
            return tensor
        return Tensor(new, tensor.dtype, tensor.shape, tensor.strides, tensor.offset)

    def work(self, work: Launch | Chosen | Tail) -> Launch | Chosen | Tail:
        """Return work over the other tensors."""
        match work:
            case Launch():
                arguments = tuple(map(self._argument, work.arguments))
                return replace(work, arguments=arguments)
            case Chosen(call=call):
                tensors = tuple(map(self, call.tensors))
                return replace(
                    work, call=call._replace(tensors=tensors, result=self(call.result))
                )
            case Tail():
                inputs = tuple(map(self._argument, work.inputs))
                results = tuple(map(self._argument, work.results))
                return replace(work, inputs=inputs, results=results)

    def _argument(self, argument: Any) -> Any:
        return self(argument) if isinstance(argument, Tensor) else argument
