"""Walks over a result's elements, from whose places those of other tensors follow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.elementwise import THREADS, vector_width
from runtime_ep_cuda.codegen.indices import Axes, blocks, grouped
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.tensor import Tensor


class Walk:
    """A kernel with a thread for each element of a result, or for some neighbours.

    ``tensors`` are names with tensors of one shape, the last of them the result; strides
    of 0 say that a tensor does not move along an axis. Coordinates of axes ``apart`` can
    be asked for; other axes are walked as one where that is possible. ``width``
    neighbours of the innermost axis are taken by a thread, at ``most`` so many.

    ``jumps`` are tensors as they are, where a kernel goes further in one of ``tensors``
    or ``others`` by more than its strides tell; their strides must be aligned, too.
    A tensor that is ``still`` gives one element to a thread: where it moves along the
    innermost axis, so does the thread. ``leading`` names the tensor whose memory gives
    the order, the result if none; ``written`` are other results.
    """

    def __init__(
        self,
        tensors: Sequence[tuple[str, Tensor]],
        apart: Collection[int] = (),
        others: Sequence[tuple[str, Tensor]] = (),
        most: int = 1,
        jumps: Mapping[str, Tensor] | None = None,
        leading: str = "",
        still: str = "",
        written: Collection[str] = (),
    ) -> None:
        self.names = [name for name, _ in tensors]
        self.tensors = dict(tensors)
        whole = Axes(tensors[-1][1].shape, tuple(t.strides for _, t in tensors))
        first = self.names.index(leading) if leading else len(tensors) - 1
        self.axes, self.groups = grouped(whole, first, apart)
        self._apart = frozenset(apart)
        self._jumps = jumps or {}
        self._still = still
        self.width = self._chosen(most)
        far = (*self._jumps.values(), *(tensor for _, tensor in others))
        reach = [Axes(tensor.shape, (tensor.strides,)).is_narrow() for tensor in far]
        self.draft = Draft(self.axes.is_narrow() and all(reach))
        results = {self.names[-1], *written}
        for name, tensor in (*tensors[:-1], *others, tensors[-1]):
            add = self.draft.writes if name in results else self.draft.reads
            add(name, tensor)
        inner = self.axes.shape[-1] // self.width
        self.shape = (*self.axes.shape[:-1], inner)
        self.count = Axes(self.shape, ()).size
        self.draft.thread("i", self.count, THREADS)
        self.coordinates = self.draft.split("i", self.shape, "c")

    def _chosen(self, most: int) -> int:
        if self._apart & {*self.groups[-1]}:
            return 1
        if self._still and self.axes.strides[self.names.index(self._still)][-1]:
            return 1
        width = vector_width(
            self.axes, list(self.tensors.values()), len(self.names) - 1, most
        )
        while self.axes.shape[-1] % width or not self._jumps_by(width):
            width //= 2
        return width

    def _jumps_by(self, width: int) -> bool:
        """Whether jumps lead to aligned vectors of so many elements."""
        for name, tensor in self._jumps.items():
            inner = self.axes.strides[self.names.index(name)][-1]
            size = tensor.dtype.itemsize
            steps = [
                s
                for s, dim in zip(tensor.strides, tensor.shape, strict=True)
                if dim > 1
            ]
            if inner and any(s * size % min(16, width * size) for s in steps if s != 1):
                return False
        return True

    def at(self, axis: int) -> str:
        """Return the coordinate of an axis that is apart."""
        places = [n for n, group in enumerate(self.groups) if axis in group]
        return self.coordinates[places[0]] if places else "0"

    def place(self, name: str, replaced: Mapping[int, str] | None = None) -> str:
        """Append a pointer to a tensor's element, and return it.

        ``replaced`` are other coordinates for axes that are apart.
        """
        steps = self.axes.strides[self.names.index(name)]
        coordinates = []
        for n, group in enumerate(self.groups):
            text = self.coordinates[n]
            if n == len(self.groups) - 1 and self.width > 1:
                text = f"({text} * {self.width})"
            for axis, other in (replaced or {}).items():
                text = other if axis in group else text
            coordinates.append(text)
        moving = [n for n, step in enumerate(steps) if step]
        missing = {
            axis: text for axis, text in (replaced or {}).items()
            if not any(axis in group for group in self.groups)
        }  # fmt: skip
        tensor = self.tensors[name]
        places = [coordinates[n] for n in moving] + list(missing.values())
        strides = [steps[n] for n in moving] + [tensor.strides[a] for a in missing]
        self.draft.placed(f"{name}o", places, strides)
        return f"({name} + {name}o)"

    def load(self, name: str, value: str, place: str) -> None:
        """Append the reading of a thread's elements into a pack."""
        memory = element(self.tensors[name].dtype).memory
        moves = self.axes.strides[self.names.index(name)][-1] != 0
        if self.width == 1 or not moves:
            self.draft.line(f"{value}.at[0] = *{place};")
            for k in range(1, self.width):
                self.draft.line(f"{value}.at[{k}] = {value}.at[0];")
        else:
            self.draft.line(f"{value} = rt_read<{memory}, {self.width}>({place});")

    def pack(self, name: str, value: str) -> None:
        """Append the declaration of a pack for a tensor's elements."""
        memory = element(self.tensors[name].dtype).memory
        self.draft.line(f"rt_pack<{memory}, {self.width}> {value};")

    def store(self, value: str, place: str) -> None:
        """Append the writing of a thread's elements."""
        memory = element(self.tensors[self.names[-1]].dtype).memory
        self.draft.line(f"rt_write<{memory}, {self.width}>({place}, {value});")

    def launch(self, name: str, resident: int = 0) -> Launch:
        """Return the launch of a thread for each element.

        ``resident`` is as in `Draft.launch`; without it threads have 64 registers, or 128
        where addresses of 64 bits take many.
        """
        resident = resident or (4 if self.draft.narrow else 2)
        codes = "_".join(element(t.dtype).code for t in self.tensors.values())
        full = f"{name}_{codes}_r{len(self.shape)}_v{self.width}"
        grid = blocks(self.count, THREADS)
        return self.draft.launch(full, grid, THREADS, resident=resident)
