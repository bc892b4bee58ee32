"""Finds subgraphs by pattern, from an index of a graph's nodes by operator.

A pattern describes a value by what produced it::

    x, eps = Any("x"), Constant("eps")
    root = Op("Sqrt", Op("Add", Op("ReduceMean", Op("Mul", x, x), ...), eps))
    for match in Index(graph).find(root):
        match["x"], match["eps"], match.nodes

A match starts at the pattern's last node and follows producers back. All nodes but the
last and those marked ``shared`` are interior: a value of theirs that is read elsewhere,
or is an output of the graph, prevents the match. `explain` tells why a node did not
match.
"""

from runtime.match.index import Index, Match, explain
from runtime.match.pattern import (
    COMMUTATIVE,
    Any,
    Constant,
    OneOf,
    Op,
    Pattern,
    Product,
    Scalar,
    Through,
    close,
    scalar,
)

__all__ = [
    "COMMUTATIVE",
    "Any",
    "Constant",
    "Index",
    "Match",
    "OneOf",
    "Op",
    "Pattern",
    "Product",
    "Scalar",
    "Through",
    "close",
    "explain",
    "scalar",
]
