"""Random trees for the tests of tree ensembles."""

import numpy as np
import onnx

MODES = ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"]
COMPARE = {
    "LEQ": lambda a, b: a <= b,
    "LT": lambda a, b: a < b,
    "GTE": lambda a, b: a >= b,
    "GT": lambda a, b: a > b,
    "EQ": lambda a, b: a == b,
    "NEQ": lambda a, b: a != b,
}


class Trees:
    """Random trees as nested tuples, as attributes of both operators, and as a walk.

    A leaf is a dict of votes; an inner node is (feature, mode, split, missing, true,
    false).
    """

    def __init__(self, seed, features=3, targets=2, votes=None, modes=MODES, depth=4):
        self.random = np.random.default_rng(seed)
        self.features, self.targets = features, targets
        self.votes = targets if votes is None else votes
        self.modes = modes
        count = int(self.random.integers(1, 5))
        self.trees = [self._grow(depth) for _ in range(count)]

    def _grow(self, depth):
        random = self.random
        if depth == 0 or random.random() < 0.15:
            chosen = random.permutation(self.targets)[: self.votes]
            return {int(t): float(np.float32(random.standard_normal())) for t in chosen}
        return (
            int(random.integers(self.features)),
            str(random.choice(self.modes)),
            float(np.float32(round(random.standard_normal(), 1))),
            bool(random.integers(2)),
            self._grow(depth - 1),
            self._grow(depth - 1),
        )

    def rows(self, count, dtype=np.float32):
        x = self.random.standard_normal((count, self.features)).round(1).astype(dtype)
        if x.dtype.kind == "f":
            x[self.random.random(x.shape) < 0.1] = np.nan
        return x

    def leaf(self, tree, row):
        while isinstance(tree, tuple):
            feature, mode, split, missing, true, false = tree
            value = float(row[feature])
            holds = COMPARE[mode](value, split) or (missing and np.isnan(value))
            tree = true if holds else false
        return tree

    def scores(self, x, aggregate="SUM"):
        result = np.zeros((len(x), self.targets))
        for n, row in enumerate(x):
            found = [self.leaf(tree, row) for tree in self.trees]
            for target in range(self.targets):
                votes = [leaf[target] for leaf in found if target in leaf]
                if not votes:
                    continue
                combine = {"MIN": min, "MAX": max}.get(aggregate, sum)
                result[n, target] = combine(votes)
        return result / len(self.trees) if aggregate == "AVERAGE" else result

    def attributes(self, prefix):
        """Return the attributes of the older operators."""
        names = "treeids nodeids featureids modes values truenodeids falsenodeids"
        columns = {
            f"nodes_{n}": [] for n in (*names.split(), "missing_value_tracks_true")
        }
        votes = {f"{prefix}_{n}": [] for n in ("treeids", "nodeids", "ids", "weights")}

        def add(number, tree):
            place = len(columns["nodes_nodeids"])
            leaf = isinstance(tree, dict)
            feature, mode, split, missing, *_ = (0, "", 0.0, 0) if leaf else tree
            mode = "LEAF" if leaf else f"BRANCH_{mode}"
            node = place - first
            row = (number, node, feature, mode, split, 0, 0, int(missing))
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            for target, weight in tree.items() if leaf else ():
                row = (number, node, target, weight)
                for column, value in zip(votes.values(), row, strict=True):
                    column.append(value)
            if not leaf:
                columns["nodes_truenodeids"][place] = add(number, tree[4])
                columns["nodes_falsenodeids"][place] = add(number, tree[5])
            return node

        for number, tree in enumerate(self.trees):
            first = len(columns["nodes_nodeids"])
            add(number, tree)
        return {**columns, **votes}

    def flat_attributes(self, dtype=np.float32):
        """Return the attributes of TreeEnsemble; each leaf votes once."""
        nodes, leaves, roots = [], [], []

        def add(tree):
            if isinstance(tree, dict):
                leaves.append(next(iter(tree.items())))
                return len(leaves) - 1, 1
            nodes.append(None)
            place = len(nodes) - 1
            nodes[place] = (*tree[:4], *add(tree[4]), *add(tree[5]))
            return place, 0

        for tree in self.trees:
            if isinstance(tree, dict):
                place, _ = add(tree)
                nodes.append((0, "LEQ", 0.0, False, place, 1, place, 1))
                roots.append(len(nodes) - 1)
            else:
                roots.append(add(tree)[0])
        columns = list(zip(*nodes, strict=True))
        tensor = onnx.numpy_helper.from_array
        modes = np.array([MODES.index(mode) for mode in columns[1]], np.uint8)
        return {
            "nodes_featureids": columns[0],
            "nodes_modes": tensor(modes),
            "nodes_splits": tensor(np.array(columns[2], dtype)),
            "nodes_missing_value_tracks_true": [int(m) for m in columns[3]],
            "nodes_truenodeids": columns[4],
            "nodes_trueleafs": columns[5],
            "nodes_falsenodeids": columns[6],
            "nodes_falseleafs": columns[7],
            "leaf_targetids": [target for target, _ in leaves],
            "leaf_weights": tensor(np.array([weight for _, weight in leaves], dtype)),
            "tree_roots": roots,
            "n_targets": self.targets,
        }
