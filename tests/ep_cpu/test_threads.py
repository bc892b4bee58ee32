"""Threads: the least of affinity, quota and real cores, and BLAS obeys."""

import pytest
from runtime_ep_cpu import threads


@pytest.mark.parametrize(("share", "want"), [(1.5, 2), (0.5, 1), (3.0, 3), (None, 4)])
def test_a_containers_quota_counts_rounded_up(share, want, monkeypatch):
    monkeypatch.setattr(threads, "_affinity", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "_cores", len)
    monkeypatch.setattr(threads.quota, "cpus", lambda: share)
    assert threads.granted.__wrapped__() == want


def test_siblings_share_a_core(tmp_path):
    for index in range(4):
        folder = tmp_path / f"cpu{index}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{index % 2},{index % 2 + 2}\n")
    assert threads._cores({0, 1, 2, 3}, str(tmp_path)) == 2
    assert threads._cores({0, 2}, str(tmp_path)) == 1
    assert threads._cores({0, 1, 9}, str(tmp_path)) == 3


def test_blas_is_told_the_number():
    blas = threads._blas()
    before = blas.threads
    try:
        blas.use(1)
        found = {library.num_threads for library in blas._libraries}
        assert found <= {1}
    finally:
        blas.use(before or threads.granted())
