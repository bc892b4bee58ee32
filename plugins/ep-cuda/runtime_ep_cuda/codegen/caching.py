"""Caches of keys and values: new rows behind the past ones, in the same memory or another.

::

    for image, head, row j, elements in vectors, all in parallel:
        start = counts[image] + more
        present[j] = new[j - start] where there is one
                     past[j] before it, and behind it 0, or what is kept

Where past and present are the same memory, only the new rows are written.
"""

from __future__ import annotations

from dataclasses import replace

from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.movement import raw
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.tensor import Tensor


def append(
    past: Tensor | None,
    new: Tensor,
    present: Tensor,
    counts: Tensor | None = None,
    more: int = 0,
    *,
    keep: bool = False,
) -> list[Launch]:
    """Put new rows into present (batch, heads, rows, size), with what was before them.

    They begin at row ``more``, and with ``counts``, integers of (batch,), so many rows
    later. All tensors have one element type. With ``keep`` past rows behind the new ones
    stay, else there are zeros.
    """
    if present.size == 0:
        return []
    source, present = raw(new), raw(present)
    batch, heads, row, size = source.strides
    listed = [
        ("fresh", replace(source, shape=present.shape, strides=(batch, heads, 0, size)))
    ]
    if past is not None and past.shape[2]:
        listed.append(("past", replace(raw(past), shape=present.shape)))
    if counts is not None:
        steps = (counts.strides[0], 0, 0, 0)
        listed.append(("counts", replace(counts, shape=present.shape, strides=steps)))
    walk = Walk([*listed, ("present", present)], {2}, most=16, jumps={"fresh": source})
    _place(walk, new.shape[2], row, more, dict(listed))
    _choose(walk, past if "past" in dict(listed) else None, keep)
    return [walk.launch("cache_append")]


def _place(
    walk: Walk, rows: int, step: int, more: int, listed: dict[str, Tensor]
) -> None:
    """Append which new row a thread's row is: ``at``, of so many."""
    draft = walk.draft
    draft.number("i64", "more", more)
    draft.number("i64", "rows", rows)
    draft.offset("row_step", step)
    counted = f" + rt_i64(*{walk.place('counts')})" if "counts" in listed else ""
    draft.line(
        f"const rt_i64 row = rt_i64({walk.at(2)});",
        f"const rt_i64 at = row - (more{counted});",
    )


def _choose(walk: Walk, past: Tensor | None, keep: bool) -> None:
    """Append the reading of a new row, a past one or zeros, and the writing."""
    draft = walk.draft
    target = walk.place("present")
    walk.pack("present", "v")
    draft.line(f"for (int k = 0; k < {walk.width}; ++k) v.at[k] = 0;")
    draft.line("if (at >= 0 && at < rows) {")
    walk.load("fresh", "v", f"({walk.place('fresh')} + offset(at) * row_step)")
    if past is not None:
        draft.number("i64", "past_rows", past.shape[2])
        draft.line(
            "} else if ((const void*)past == (const void*)present) {",
            "return;",
            f"}} else if ({'' if keep else 'at < 0 && '}row < past_rows) {{",
        )
        walk.load("past", "v", walk.place("past"))
    draft.line("}")
    walk.store("v", target)
