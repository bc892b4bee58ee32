"""The middle of element-wise kernels: an expression, lane by lane."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import Expression
from runtime_ep_cuda.codegen.terms import applied
from runtime_ep_cuda.tensor import Tensor


def lanes(
    draft: Draft,
    expression: Expression,
    tensors: Sequence[Tensor],
    values: Sequence[str],
    width: int,
) -> None:
    """Append the expression over ``width`` lanes into packs ``y0v``, ``y1v``, ….

    ``values`` are texts of the operands' elements of lane ``k``; ``tensors`` are the
    operands and then the results.
    """
    operands = len(values)
    for i, tensor in enumerate(tensors[operands:]):
        draft.line(f"rt_pack<{element(tensor.dtype).memory}, {width}> y{i}v;")
    draft.line("#pragma unroll", f"for (int k = 0; k < {width}; ++k) {{")
    for i, value in enumerate(values):
        draft.line(f"const {element(tensors[i].dtype).computed} a{i} = {value};")
    lines, texts = applied(
        expression,
        [(f"a{i}", tensors[i].dtype) for i in range(operands)],
        [tensor.dtype for tensor in tensors[operands:]],
    )
    draft.line(*lines)
    draft.line(*(f"rt_put(y{i}v.at[k], {text});" for i, text in enumerate(texts)), "}")
