"""Values made from shapes and numbers alone."""

from __future__ import annotations

from math import prod

import numpy as np
from runtime.graph import Tensor

from runtime_ep_coreml.guards import attribute
from runtime_ep_coreml.narrowing import may_grow
from runtime_ep_coreml.scope import KINDS, NUMPY, Handle, Refused, Scope, narrowed
from runtime_ep_coreml.table import lowers


@lowers("Constant", since=1)
def constant(at: Scope) -> Handle:
    """A tensor or number that is an attribute."""
    found = next(iter(at.node.attributes.values())).value
    array = found.numpy() if isinstance(found, Tensor) else np.array(found)
    if at.made not in KINDS or array.size == 0:
        raise Refused("the element type is not supported")
    return at.op("identity", x=at.constant(narrowed(array, KINDS[at.made])))


@lowers("Shape", since=1)
def shape(at: Scope) -> Handle:
    """The sizes of a value, or of some of its axes."""
    x = at.x()
    part = slice(at.attr("start", 0), at.attr("end"))
    wanted = range(at.rank(x))[part]
    if not wanted:
        raise Refused("a value has no elements")
    sizes = at.sizes(x)[wanted.start : wanted.stop]
    if None not in sizes:
        return at.op("identity", x=at.constant(np.array(sizes, np.int32)))
    found = at.op("shape", x=x)
    return at.op("slice_by_index", x=found, begin=[wanted.start], end=[wanted.stop])


@lowers("Size", since=1)
def size(at: Scope) -> Handle:
    """The number of elements."""
    x = at.x()
    sizes = at.sizes(x)
    if None not in sizes:
        return at.op("identity", x=at.constant(np.int32(prod(sizes))))  # type: ignore[arg-type]
    found = at.op("shape", x=x)
    return at.op("reduce_prod", x=found, axes=[0], keep_dims=False)


@lowers("ConstantOfShape", since=9)
def constant_of_shape(at: Scope) -> Handle:
    """One number everywhere."""
    given = at.attr("value")
    array = given.numpy() if isinstance(given, Tensor) else np.zeros(1, np.float32)
    if at.made not in KINDS:
        raise Refused("the element type is not supported")
    number = narrowed(array, KINDS[at.made]).reshape(-1)[0]
    known = at.known(0)
    if known is not None:
        sizes = [int(n) for n in known]
        if 0 in sizes:
            raise Refused("a value has no elements")
        return at.op("identity", x=at.constant(np.full(sizes, number)))
    return at.op("fill", shape=at.x(), value=number)


@lowers("Range", guards=(may_grow,), since=11)
def range_(at: Scope) -> Handle:
    """Numbers from a start to an end, by steps."""
    start, end, step = at.x(), at.x(1), at.x(2)
    return at.op("range_1d", start=start, end=end, step=step)


@lowers("EyeLike", guards=(attribute("dtype", None, *KINDS),), since=9)
def eye_like(at: Scope) -> Handle:
    """Ones on a diagonal."""
    rows, columns = at.fixed(at.x())
    made = np.eye(rows, columns, at.attr("k", 0))
    return at.op("identity", x=at.constant(made.astype(NUMPY[KINDS[at.made]])))
