"""Threads: the least of affinity, quota and real cores, and BLAS obeys."""

import pytest
from runtime_ep_cpu import threads


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_a_containers_quota_counts_rounded_up(files, want, tmp_path):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert threads._quota(str(tmp_path)) == want


@pytest.mark.parametrize("text", ["max 100000", "nonsense"])
def test_without_a_quota_the_machine_counts(text, tmp_path):
    (tmp_path / "cpu.max").write_text(text)
    assert threads._quota(str(tmp_path)) >= 1


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
