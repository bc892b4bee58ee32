"""Attention: scores, softmax and weighted values of every head in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runtime.graph import Node, Value

from runtime_ep_cpu.codegen import attention, copies
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, Layout, Unplannable
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.rows import bits_of
from runtime_ep_cpu.native.steps.view import reshaped

_FAR = 1 << 40
"""More keys than there are: a window's side that is open."""

_INPUTS = ("q", "k", "v", "mask", "past_key", "past_value", "lengths")


def is_supported(node: Node) -> bool:
    """Whether a node is attention in float32 or half precision with nothing unusual."""
    given = [element_of(node.input(i)) for i in range(3)]
    if len(set(given)) != 1 or given[0] not in ("float", "half"):
        return False
    mask = node.input(3)
    if mask is not None and element_of(mask) not in ("float", "half", "i1"):
        return False
    if node.input(6) is not None or node.attribute("softmax_precision", 1) != 1:
        return False
    return not (len(node.outputs) > 3 and _is_used(node.outputs[3]))


def _is_used(value: Value) -> bool:
    return bool(value.name or value.uses)


class _Heads(NamedTuple):
    """The operands by heads: (batch, heads, rows, width) each."""

    q: Layout
    k: Layout
    v: Layout


class AttentionStep:
    """Attention of ai.onnx, any opset; operands may be views of other results."""

    def __init__(self, group: Group, target: Target) -> None:
        if group.anchor is None:
            raise ValueError("attention has an anchor")
        self._node = node = group.anchor
        self._target = target
        self._element = element_of(node.input(0)) or "float"
        self._values = {word: node.input(i) for i, word in enumerate(_INPUTS)}
        self._flat = len(node.inputs[0].shape or ()) == 3  # type: ignore[union-attr]
        self._softcap = float(node.attribute("softcap", 0.0))
        self._behind = _side(node.attribute("left_window_size", -1))
        self._beyond = _side(node.attribute("right_window_size", -1))
        if node.attribute("is_causal", 0):
            self._beyond = min(self._beyond, 0)
        mask = self._values["mask"]
        parameters = {
            "elements": (self._element,) * 4,
            "mask": None if mask is None else element_of(mask),
            "banded": min(self._behind, self._beyond) < _FAR,
            "softcap": self._softcap > 0,
        }
        self._kernels = {
            family: Spec.of(family, **parameters) for family in attention.PLANS
        }
        self._tiles = attention.tile_specs(target)
        self.specs: Sequence[Spec] = (
            *self._kernels.values(),
            *self._tiles,
            *copies.specs(SIZES[self._element]),
        )

    def plan(self, planner: Planner) -> None:
        """Plan every head's attention for the shapes at hand."""
        node = self._node
        heads = _Heads(
            self._heads(planner, "q", node.attribute("q_num_heads")),
            self._heads(planner, "k", node.attribute("kv_num_heads")),
            self._heads(planner, "v", node.attribute("kv_num_heads")),
        )
        past = self._values["past_key"]
        before = 0 if past is None else planner.layout(past).shape[2]
        heads = self._with_past(planner, heads)
        _check(heads)
        self._add(planner, heads, before)

    def _heads(self, planner: Planner, word: str, count: int | None) -> Layout:
        """Return an operand as (batch, heads, rows, width), its elements side by side."""
        value = self._values[word]
        if value is None:
            raise Unplannable(f"{word} is not given")
        layout = planner.layout(value)
        if len(layout.shape) == 3:
            batch, rows, width = layout.shape
            if not count or width % count:
                raise Unplannable(f"{layout.shape} does not divide into {count} heads")
            split = reshaped(planner, layout, (batch, rows, count, width // count))
            layout = split.transposed((0, 2, 1, 3))
        if len(layout.shape) != 4:
            raise Unplannable(f"{layout.shape} has no heads")
        if layout.shape[3] > 1 and layout.strides[3] != 1:
            layout = planner.contiguous(layout)
        return layout

    def _with_past(self, planner: Planner, heads: _Heads) -> _Heads:
        """Put past keys and values before the new ones, where they are given or wanted."""
        found = []
        for index, (word, new) in enumerate(
            (("past_key", heads.k), ("past_value", heads.v))
        ):
            past = self._values[word]
            outputs = self._node.outputs
            shown = outputs[1 + index] if len(outputs) > 1 + index else None
            if shown is not None and not _is_used(shown):
                shown = None
            if past is None and shown is None:
                found.append(new)
                continue
            parts = ([planner.layout(past)] if past is not None else []) + [new]
            found.append(_joined(planner, shown, parts, self._element))
        return _Heads(heads.q, *found)

    def _mask(self, planner: Planner, shape: Sequence[int]) -> Layout | None:
        value = self._values["mask"]
        if value is None:
            return None
        mask = planner.layout(value)
        last = mask.shape[-1] if mask.shape else 1
        if last != shape[-1] and (last != 1 or self._node.version >= 24):
            raise Unplannable(f"a mask of {mask.shape} is padded")
        return mask.broadcast(shape)

    def _add(self, planner: Planner, heads: _Heads, before: int) -> None:
        q, k, v = heads
        batch, count, rows, width = q.shape
        groups, keys, value_width = k.shape[1], k.shape[2], v.shape[3]
        mask = self._mask(planner, (batch, count, rows, keys))
        out = self._result(planner, (batch, rows, count, value_width))
        family = attention.family_for(rows)
        divide, memory = attention.PLANS[family]
        cut = divide(self._target, batch, count, groups, rows, keys)
        scale = self._node.attribute("scale")
        given = {
            "mask": mask,
            **(_strides("mask", mask, "key") if mask is not None else {}),
            "heads": count,
            "group": count // groups,
            "rows": rows,
            "keys": keys,
            "width": width,
            "value_width": value_width,
            "scale": bits_of(width**-0.5 if scale is None else float(scale)),
            "softcap": bits_of(self._softcap),
            "offset": before,
            "behind": self._behind,
            "beyond": self._beyond,
            "block_rows": cut.rows,
            "blocks": cut.blocks,
            "key_block": cut.keys,
            "tiles": planner.tile_table(self._tiles),
        }
        for word, layout in (("q", q), ("k", k), ("v", v), ("out", out)):
            given |= {word: layout, **_strides(word, layout)}
        arguments: list[Argument] = [given.get(field) for field in attention.FIELDS]
        planner.step(
            self._kernels[family],
            arguments,
            cut.chunks,
            [q, k, v, *([] if mask is None else [mask])],
            [out],
            memory(self._target, cut, width, value_width),
            float(batch * count * rows * keys) * (width + value_width + 8),
        )

    def _result(self, planner: Planner, shape: tuple[int, int, int, int]) -> Layout:
        """Lay the result out by rows, whatever the order of its dims."""
        batch, rows, heads, width = shape
        result = self._node.outputs[0]
        if self._flat:
            whole = (batch, rows, heads * width)
            made = planner.allocate(result, whole, self._element)
            apart = reshaped(planner, made, shape).transposed((0, 2, 1, 3))
        else:
            made = planner.allocate(None, shape, self._element)
            apart = made.transposed((0, 2, 1, 3))
            planner.give(result, apart)
        return apart


def _strides(word: str, layout: Layout, *further: str) -> dict[str, Argument]:
    names = ("batch", "head", "row", *further)
    return {
        f"{word}_{name}": stride
        for name, stride in zip(names, layout.strides, strict=False)
    }


def _joined(
    planner: Planner, result: Value | None, parts: Sequence[Layout], element: str
) -> Layout:
    """Return parts one after the other along the rows."""
    batch, heads, _, width = parts[0].shape
    for part in parts:
        if (part.shape[0], part.shape[1], part.shape[3]) != (batch, heads, width):
            raise Unplannable(f"{part.shape} does not continue {parts[0].shape}")
    rows = sum(part.shape[2] for part in parts)
    made = planner.allocate(result, (batch, heads, rows, width), element)
    start = 0
    for part in parts:
        piece = made.with_dims(part.shape, made.strides, start * made.strides[2])
        planner.copy(part, piece)
        start += part.shape[2]
    return made


def _check(heads: _Heads) -> None:
    q, k, v = (layout.shape for layout in heads)
    fits = (
        q[0] == k[0] == v[0] and k[1:3] == v[1:3] and q[3] == k[3] and q[1] % k[1] == 0
    )
    if not fits:
        raise Unplannable(f"{q}, {k} and {v} do not fit each other")


def _side(size: int) -> int:
    if size < -1:
        raise ValueError(f"a window's side must be at least -1, found {size}")
    return _FAR if size == -1 else size
