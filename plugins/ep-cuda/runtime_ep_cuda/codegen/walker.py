"""The text of a kernel that walks lines: its parameters, where it reads, what it writes.

A body sees, besides its own parameters::

    T R V W U E    the team's threads, a block's seats, elements of a vector, lines of a
                   thread, how far a line's index goes with one vector, vectors at once
    lane seat row  the thread's place in the team, the team's in the block, its (first)
                   line; ``active`` tells whether there is such a line
    n              elements of the line: 0 where there is none, so that loops end at once;
                   with a ``chunk``, the block's piece of it is from ``begin`` to n
    name(k, x)     functions made by `Walker.reads` and `Walker.writes`, of a vector ``x``
                   of V elements at k
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import Expression
from runtime_ep_cuda.codegen.kernel import Kernel, Launch
from runtime_ep_cuda.codegen.lines import Lines, Team, choose
from runtime_ep_cuda.codegen.teams import TEAMS
from runtime_ep_cuda.codegen.terms import applied
from runtime_ep_cuda.tensor import Tensor

DECLARATIONS = {
    "i32": "int",
    "u32": "rt_u32",
    "i64": "rt_i64",
    "f32": "float",
    "f64": "double",
}


class Walker:
    """A kernel in the making, over tensors broadcast to the shape whose lines it walks."""

    def __init__(
        self,
        lines: Lines,
        tensors: Sequence[Tensor],
        results: Sequence[int] = (),
        team: Team | None = None,
        chunk: int = 0,
    ) -> None:
        self.lines = lines
        self.tensors = tuple(tensors)
        self.team = team or choose(lines, tensors)
        self.index = "i64" if lines.wide else "i32"
        self.parameters: list[tuple[str, str]] = []
        self.arguments: list[Any] = []
        self.head: list[str] = []
        self.body: list[str] = []
        for number, tensor in enumerate(self.tensors):
            self.pointer(f"p{number}", tensor, number not in results)
        self.scalar("i32", "rows", lines.rows)
        self.scalar("i32", "length", lines.length)
        self._constants(chunk)
        self._place_rows()

    def pointer(
        self, name: str, tensor: Tensor, constant: bool, type: str = ""
    ) -> None:
        """Add a parameter for a tensor's address."""
        memory = type or element(tensor.dtype).memory
        text = f"{'const ' * constant}{memory}* __restrict__ {name}"
        self.parameters.append(("pointer", text))
        self.arguments.append(tensor)

    def scalar(self, kind: str, name: str, value: Any) -> str:
        """Add a parameter for a number."""
        self.parameters.append((kind, f"const {DECLARATIONS[kind]} {name}"))
        self.arguments.append(value)
        return name

    def _constants(self, chunk: int) -> None:
        team = self.team
        self.head += [
            f"constexpr int T = {team.threads}, R = {team.seats}, V = {team.vector}, "
            f"W = {team.width}, U = {team.step}, E = {team.each};",
            f"constexpr bool columns = {str(team.columns).lower()};",
            f"typedef {DECLARATIONS[self.index]} index;",
        ]
        thread = "const int {} = int(threadIdx.x) % {}, {} = int(threadIdx.x) / {};"
        places = (
            ("seat", "R", "lane", "R") if team.columns else ("lane", "T", "seat", "T")
        )
        self.head += [
            thread.format(*places),
            "const rt_u32 row = (blockIdx.x * R + seat) * W;",
            "const bool active = row < rt_u32(rows);",
        ]
        end = "length"
        if chunk:
            self.scalar("i32", "chunk", chunk)
            self.head += [
                "const rt_u32 until = (blockIdx.y + 1) * rt_u32(chunk);",
                "const int begin = int(until - rt_u32(chunk));",
            ]
            end = "(until < rt_u32(length) ? int(until) : length)"
        self.head.append(f"const int n = active ? {end} : 0;")

    def _place_rows(self) -> None:
        """Write the coordinates of the row, and each tensor's offset there."""
        self.head += self._coordinates("row", "i", self.lines.kept)
        for number in range(len(self.tensors)):
            text = self._offset(number, "i", self.lines.kept, not self.team.columns)
            self.head.append(f"const index o{number} = {text};")

    def _coordinates(self, flat: str, name: str, axes: Sequence[Any]) -> list[str]:
        """Divide a flat index into one per axis, called ``name`` and the axis's number."""
        if len(axes) <= 1:
            return [f"const rt_u32 {name}0 = {flat};"] if axes else []
        lines = [f"rt_u32 {name} = {flat};"]
        for number in reversed(range(1, len(axes))):
            size = f"size_{name}{number}"
            if (declared := f"const int {size}") not in [p[1] for p in self.parameters]:
                self.parameters.append(("i32", declared))
                self.arguments.append(axes[number].size)
            lines.append(f"const rt_u32 {name}{number} = {name} % rt_u32({size});")
            lines.append(f"{name} /= rt_u32({size});")
        return [*lines, f"const rt_u32 {name}0 = {name};"]

    def _step(self, number: int, name: str, axis: int, step: int, inner: bool) -> str:
        """Return the text of a step, which is a parameter unless it is 0 or inside 1."""
        if step == 0 or (inner and step == 1):
            return str(step)
        text = f"step{number}_{name}{axis}"
        declared = f"const {DECLARATIONS[self.index]} {text}"
        if (self.index, declared) not in self.parameters:
            self.parameters.append((self.index, declared))
            self.arguments.append(step)
        return text

    def _offset(self, number: int, name: str, axes: Sequence[Any], plain: bool) -> str:
        terms = []
        for place, axis in enumerate(axes):
            inner = place == len(axes) - 1 and not plain
            step = self._step(number, name, place, axis.steps[number], inner)
            if step != "0":
                times = "" if step == "1" else f" * {step}"
                terms.append(f"index({name}{place}){times}")
        return " + ".join(terms) or "0"

    def _vector_step(self, number: int) -> str:
        """Return how far the elements of a vector are apart, as text."""
        columns = self.team.columns
        axes = self.lines.kept if columns else self.lines.along
        if not axes:
            return "0"
        name = "i" if columns else "j"
        return self._step(number, name, len(axes) - 1, axes[-1].steps[number], True)

    def _at(self, number: int) -> str:
        """Return the text of a tensor's offset at the coordinates j of a line."""
        along = self._offset(number, "j", self.lines.along, self.team.columns)
        return f"o{number} + {along}" if along != "0" else f"o{number}"

    def _read(self, number: int) -> tuple[list[str], str]:
        """Return statements that read a vector, and the text of its element v."""
        memory, at = element(self.tensors[number].dtype).memory, self._at(number)
        step = self._vector_step(number)
        name = f"a{number}"
        if step == "0" or self.team.vector == 1:
            return [f"const {memory} {name} = p{number}[{at}];"], f"rt_wide({name})"
        if step == "1":
            read = f"const auto {name} = rt_read<{memory}, V>(p{number} + ({at}));"
            return [read], f"rt_wide({name}.at[v])"
        return [
            f"rt_pack<{memory}, V> {name};",
            "#pragma unroll",
            f"for (int v = 0; v < V; ++v) {name}.at[v] = p{number}[{at} + v * {step}];",
        ], f"rt_wide({name}.at[v])"

    def _packs(self, number: int) -> tuple[list[str], list[str]]:
        """Return the declaration of a vector to be written, and the writing of it."""
        memory, at = element(self.tensors[number].dtype).memory, self._at(number)
        step = self._vector_step(number)
        declared = [f"rt_pack<{memory}, V> y{number};"]
        if step == "1" and self.team.vector > 1:
            return declared, [f"rt_write<{memory}, V>(p{number} + ({at}), y{number});"]
        return declared, [
            "#pragma unroll",
            f"for (int v = 0; v < V; ++v) p{number}[{at} + v * {step}] = y{number}.at[v];",
        ]

    def reads(
        self,
        name: str,
        expression: Expression,
        operands: Sequence[int],
        type: str,
        stores: Mapping[int, int] | None = None,
    ) -> None:
        """Make a function that computes x at k from tensors, by an expression.

        ``type`` is x's, as NumPy calls it; ``stores`` says which of the results are
        written to which tensor.
        """
        stores = stores or {}
        results = [type, *("float32",) * (len(expression.results) - 1)]
        for result, number in stores.items():
            results[result] = self.tensors[number].dtype.name
        fetched, given = self._fetched(operands)
        statements, found = applied(expression, given, results)
        puts = {number: found[result] for result, number in stores.items()}
        inner = [*statements, f"x[v] = {found[0]};", *_put(puts)]
        self._function(name, element(type).computed, fetched, inner, list(puts))

    def writes(
        self,
        name: str,
        expression: Expression,
        operands: Sequence[int],
        type: str,
        results: Sequence[int],
        first: str = "x[v]",
        reading: Sequence[int] = (),
    ) -> None:
        """Make a function that writes an expression of x and of tensors at k.

        ``first`` is the text that the expression's first operand stands for; it may read
        the tensors in ``reading`` too, as `wide` names them.
        """
        fetched, given = self._fetched([*reading, *operands])
        kinds = [self.tensors[number].dtype.name for number in results]
        bound = f"const {element(type).computed} first = {first};"
        given = [("first", type), *given[len(reading) :]]
        statements, found = applied(expression, given, kinds)
        puts = dict(zip(results, found, strict=True))
        inner = [bound, *statements, *_put(puts)]
        self._function(name, element(type).computed, fetched, inner, list(results))

    def ends(
        self,
        name: str,
        expression: Expression,
        operands: Sequence[int],
        type: str,
        results: Sequence[int],
    ) -> None:
        """Make a function of w and a value, which writes what becomes of it at a line.

        The value, of a NumPy type, is the expression's first operand; tensors are read
        and written once for a line.
        """
        memory = [element(self.tensors[number].dtype).memory for number in operands]
        fetched = [
            f"const {kind} a{number} = p{number}[{self._line(number)}];"
            for kind, number in zip(memory, operands, strict=True)
        ]
        given = [
            (f"rt_wide(a{number})", self.tensors[number].dtype.name)
            for number in operands
        ]
        kinds = [self.tensors[number].dtype.name for number in results]
        statements, found = applied(expression, [("first", type), *given], kinds)
        puts = [
            f"rt_put(p{number}[{self._line(number)}], {text});"
            for number, text in zip(results, found, strict=True)
        ]
        self.head += [
            f"const auto {name} = [&](const int w, const {element(type).computed} first) {{",
            *_indented([*fetched, *statements, *puts]),
            "};",
        ]

    def _line(self, number: int) -> str:
        """Return the text of a tensor's offset at line w of a thread."""
        step = self._vector_step(number) if self.team.columns else "0"
        return f"o{number}" if step == "0" else f"o{number} + w * {step}"

    def place(self, number: int, k: str) -> str:
        """Return the text of a tensor's element at k of a line of one axis."""
        if not self.lines.along:
            return f"p{number}[o{number}]"
        step = self._step(number, "j", 0, self.lines.along[0].steps[number], False)
        return f"p{number}[o{number} + index({k}) * {step}]"

    def wide(self, number: int) -> str:
        """Return the text by which a function reads an element of a tensor."""
        return self._read(number)[1]

    def _fetched(
        self, numbers: Sequence[int]
    ) -> tuple[list[str], list[tuple[str, str]]]:
        """Return statements that read tensors, and each one's element v with its type."""
        reads = {number: self._read(number) for number in numbers}
        fetched = [line for lines, _ in reads.values() for line in lines]
        return fetched, [
            (reads[number][1], self.tensors[number].dtype.name) for number in numbers
        ]

    def _function(
        self,
        name: str,
        computed: str,
        fetched: list[str],
        inner: list[str],
        to: list[int],
    ) -> None:
        before, after = [], []
        for number in to:
            declared, written = self._packs(number)
            before += declared
            after += written
        self.head += [
            f"const auto {name} = [&](const int k, {computed} (&x)[V]) {{",
            *_indented(self._coordinates("rt_u32(k)", "j", self.lines.along)),
            *_indented(
                [*fetched, *before, "#pragma unroll", "for (int v = 0; v < V; ++v) {"]
            ),
            *_indented(_indented(inner)),
            *_indented(["}", *after]),
            "};",
        ]

    def launch(
        self, family: str, body: str, *, chunks: int = 1, spills: bool = False
    ) -> Launch:
        """Return the launch of a kernel of this head and a body."""
        text = "\n".join(_indented([*self.head, *body.strip("\n").splitlines()]))
        declared = ",\n    ".join(text for _, text in self.parameters)
        block = self.team.block
        bounds = f"__launch_bounds__({block}, {self._resident()})"
        whole = f'extern "C" __global__ void {bounds} NAME(\n    {declared}) {{\n{text}\n}}\n'
        name = named(f"{family}_{self._coordinates_of_name()}", whole)
        kernel = Kernel(
            name,
            TEAMS + whole.replace("NAME", name, 1),
            tuple(kind for kind, _ in self.parameters),
            self.team.block,
            spills,
        )
        grid = (self.team.blocks(self.lines.rows), chunks, 1)
        return Launch(kernel, grid, (self.team.block, 1, 1), tuple(self.arguments))

    def _resident(self) -> int:
        """Return how many blocks a multiprocessor shall have at once.

        So many leave each thread of 512 all the registers that its line needs, which the
        assembler takes only if told so: by itself it spills some, whatever the block, to
        have more threads at once. No GPU has fewer than 16 blocks.
        """
        return min(16, max(1, 512 // self.team.block))

    def _coordinates_of_name(self) -> str:
        team = self.team
        way = ("columns" if team.columns else "rows") + ("" if team.cached else "_long")
        codes = "_".join(element(tensor.dtype).code for tensor in self.tensors)
        return f"{way}_{team.threads}x{team.seats}x{team.vector}x{team.each}_{codes}"


def named(coordinates: str, text: str) -> str:
    """Return a kernel's name: coordinates to be read, and a digest of its text."""
    return f"{coordinates}_{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _indented(lines: Sequence[str]) -> list[str]:
    return [line if line.startswith("#") else "  " + line for line in lines]


def _put(puts: Mapping[int, str]) -> list[str]:
    return [f"rt_put(y{number}.at[v], {text});" for number, text in puts.items()]
