"""A group: nodes that are planned together, found by `fuse` and planned by `steps`."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.graph import Node, Value


@dataclass(slots=True, eq=False)
class Group:
    """Nodes in order around an anchor.

    ``before`` are element-wise nodes that make what the anchor reads first, ``after``
    those that follow on its result; a group without an anchor has all of its nodes in
    ``after``. ``scaling`` gives each channel a factor and an offset between the two, which
    go into the anchor's weights. ``results`` are the values that others read.
    """

    anchor: Node | None = None
    before: list[Node] = field(default_factory=list)
    after: list[Node] = field(default_factory=list)
    results: list[Value] = field(default_factory=list)
    scaling: Node | None = None
    open: bool = False

    @property
    def nodes(self) -> list[Node]:
        """All nodes in order."""
        middle = [n for n in (self.anchor, self.scaling) if n is not None]
        return [*self.before, *middle, *self.after]

    @property
    def last(self) -> Value:
        """What the group makes last."""
        return (self.after[-1] if self.after else self.nodes[-1]).outputs[0]

    @property
    def label(self) -> str:
        """How profiles call the group: its operators in order."""
        return "+".join(node.op_type for node in self.nodes)
