"""The compile cache: what it gives back is what was put, or nothing."""

import logging
import os
import threading

import numpy as np
import pytest
from models import FLOAT, model, node
from runtime.cache import CompileCache, structure_key
from runtime.model import from_proto
from runtime.partition import make_partition
from runtime.plugin import HOST


def partition(op="Relu", shape=("n", 4), weight=1.0, **attributes):
    proto = model(
        [node("Mul", ["x", "w"], ["h"]), node(op, ["h"], ["y"], **attributes)],
        {"x": (FLOAT, list(shape))},
        {"y": (FLOAT, list(shape))},
        {"w": np.full((100, 4), weight, np.float32)[: 1 if weight == 1 else 100]},
    )
    graph = from_proto(proto).graph
    return make_partition("P", HOST, list(graph), graph)


def test_what_is_put_is_given_back(tmp_path):
    cache = CompileCache(tmp_path)
    assert cache.get("ab12") is None
    cache.put("ab12", b"code")
    assert cache.get("ab12") == b"code"
    assert cache.entries() == [cache.path("ab12")]


def test_the_folder_is_private(tmp_path):
    if os.name == "nt":
        pytest.skip("permissions are POSIX")
    cache = CompileCache(tmp_path / "cache")
    cache.put("ab12", b"code")
    assert cache.path("ab12").parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign"])
def test_a_damaged_entry_is_dropped_with_a_warning(tmp_path, damage, caplog):
    cache = CompileCache(tmp_path)
    cache.put("ab12", b"code" * 100)
    path = cache.path("ab12")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(
        {
            "flip": bytes(data),
            "truncate": bytes(data[:-9]),
            "empty": b"",
            "foreign": b"something else",
        }[damage]
    )
    with (
        caplog.at_level(logging.WARNING, "runtime"),
        pytest.warns(RuntimeWarning, match="dropped"),
    ):
        assert cache.get("ab12") is None
    assert "dropped" in caplog.text
    assert not path.exists()


def test_a_folder_that_cannot_be_used_is_a_warning_and_a_miss(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = CompileCache(blocked)
    with (
        caplog.at_level(logging.WARNING, "runtime"),
        pytest.warns(RuntimeWarning, match="RUNTIME_CACHE_DIR"),
    ):
        cache.put("ab12", b"code")
        assert cache.get("ab12") is None
        with cache.lock("ab12"):
            pass
    assert caplog.text.count("cannot be used") == 1
    assert "RUNTIME_CACHE_DIR" in caplog.text


def test_writers_at_once_leave_one_whole_entry(tmp_path):
    cache = CompileCache(tmp_path)

    def write(index):
        for _ in range(20):
            with cache.lock("ab12"):
                cache.put("ab12", bytes([index]) * 10_000)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    data = cache.get("ab12")
    assert data is not None
    assert len(set(data)) == 1
    assert len(list(tmp_path.rglob("*.bin"))) == 1


def test_the_key_is_of_structure_not_of_weights_or_sizes():
    base = structure_key(partition())
    assert structure_key(partition()) == base
    assert structure_key(partition(shape=("m", 4))) == base
    assert structure_key(partition(weight=2.0)) == structure_key(partition(weight=3.0))


@pytest.mark.parametrize(
    "changed",
    [
        partition("Neg"),
        partition(shape=("n", 2, 4)),
        partition("Elu", alpha=0.5),
        partition(weight=2.0),
    ],
)
def test_other_operators_ranks_attributes_or_constants_give_another_key(changed):
    assert structure_key(changed) != structure_key(partition())


def test_what_the_caller_adds_gives_another_key():
    assert structure_key(partition(), "v1") != structure_key(partition(), "v2")
