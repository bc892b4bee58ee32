"""Running sums and products along an axis, the same in every run.

::

    rows     for line: for tile of T elements: scan the tile by its team, and carry on
    columns  for W lines beside each other, a thread: for k: add up

Integers wrap around, narrow floats are added up in float.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime_ep_cuda.codegen.elements import FLOATS, element
from runtime_ep_cuda.codegen.expression import SAME, Expression
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lines import Lines, Team, arrange, choose
from runtime_ep_cuda.codegen.reduction import type_of
from runtime_ep_cuda.codegen.walker import Walker
from runtime_ep_cuda.tensor import Tensor

_COLUMNS = """
run_type run[W];
#pragma unroll
for (int w = 0; w < W; ++w) run[w] = run_type(NONE);
for (int k = 0; k < n; ++k) {
  real x[V];
  before(k, x);
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const run_type so_far = run[v];
    run[v] = so_far SIGN run_type(x[v]);
    x[v] = real(exclusive ? so_far : run[v]);
  }
  after(k, x);
}
"""

_ROWS = """
__shared__ run_type warps[T / 32];
run_type run = run_type(NONE);
for (int start = 0; start < length; start += T) {
  const int k = start + lane;
  real x[V];
  run_type upto = run_type(NONE);
  if (k < n) {
    before(k, x);
    upto = run_type(x[0]);
  }
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const run_type other = __shfl_up_sync(~0u, upto, d);
    if (lane % 32 >= d) upto = other SIGN upto;
  }
  run_type behind = __shfl_up_sync(~0u, upto, 1);
  if (lane % 32 == 0) behind = run_type(NONE);
  run_type lead = run, all = __shfl_sync(~0u, upto, 31);
  if (T > 32) {
    if (lane % 32 == 31) warps[lane / 32] = upto;
    __syncthreads();
    all = run_type(NONE);
    for (int w = 0; w < T / 32; ++w) {
      if (w == lane / 32) lead = run SIGN all;
      all = all SIGN warps[w];
    }
    __syncthreads();
  }
  x[0] = real(lead SIGN (exclusive ? behind : upto));
  if (k < n) after(k, x);
  run = run SIGN all;
}
"""


def cumulate(
    before: Expression,
    operands: Sequence[Tensor],
    y: Tensor,
    axis: int,
    *,
    product: bool = False,
    exclusive: bool = False,
    reverse: bool = False,
) -> list[Launch]:
    """CumSum, or CumProd, of ``before(operands)`` along an axis.

    Operands are broadcast to y's shape; ``exclusive`` leaves out the element itself,
    ``reverse`` begins at the end.
    """
    if y.size == 0:
        return []
    axis %= y.rank
    tensors = [*(operand.broadcast(y.shape) for operand in operands), y]
    if reverse:
        size = y.shape[axis]
        tensors = [tensor.sliced(axis, size - 1, size, -1) for tensor in tensors]
    lines = arrange(y.shape, (axis,), tensors)
    team = _team(lines, tensors)
    kind = type_of(before, operands)
    walker = Walker(lines, tensors, [len(operands)], team)
    walker.reads("before", before, range(len(operands)), kind)
    walker.writes("after", SAME, (), kind, [len(operands)])
    walker.head += [
        f"typedef {element(kind).computed} real;",
        f"typedef {_running(element(kind).computed)} run_type;",
        f"constexpr bool exclusive = {str(exclusive).lower()};",
    ]
    body = (_COLUMNS if team.columns else _ROWS).replace(
        "SIGN", "*" if product else "+"
    )
    name = "cumulative_product" if product else "cumulative_sum"
    return [walker.launch(name, body.replace("NONE", str(int(product))))]


def _running(computed: str) -> str:
    """Return the C type that adds up another: integers wrap around unsigned."""
    if computed in FLOATS:
        return computed
    return "rt_u64" if computed in ("rt_i64", "rt_u64") else "rt_u32"


def _team(lines: Lines, tensors: Sequence[Tensor]) -> Team:
    """Return a thread per bundle of columns, or a team along each line."""
    team = choose(lines, tensors)
    if team.columns and (lines.rows >= 1024 or lines.length < 128):
        vector = team.vector if lines.rows >= 2**16 else 1
        return Team(True, vector, 1, 128, 1, False)
    if lines.length <= 256:
        return Team(False, 1, 32, 4, 1, False)
    return Team(False, 1, 256, 1, 1, False)
