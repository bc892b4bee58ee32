"""The share of the processors that control groups grant, of both versions."""

import pytest
from runtime import quota

LIMIT_1 = {"cpu.cfs_quota_us": "200000\n", "cpu.cfs_period_us": "100000\n"}
NO_LIMIT_1 = {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}


def groups(folder, **files):
    """Write a group's files; return what reads groups from the folder on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("at", "files", "cpus"),
    [
        (".", {"cpu.max": "150000 100000\n"}, 1.5),
        (".", {"cpu.max": "max 100000\n"}, None),
        ("cpu", LIMIT_1, 2.0),
        ("cpu", NO_LIMIT_1, None),
        (".", {"cpu.max": "garbage"}, None),
        (".", {"cpu.max": ""}, None),
        (".", {}, None),
    ],
)
def test_a_containers_limit_is_read_in_both_versions(at, files, cpus, tmp_path):
    groups(tmp_path / at, **files)
    assert quota.cpus(tmp_path, tmp_path / "none") == cpus


def test_the_least_of_a_services_groups_counts(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/system.slice/served.service\n")
    groups(tmp_path / "system.slice", **{"cpu.max": "300000 100000"})
    assert quota.cpus(tmp_path, own) == 3
    groups(tmp_path / "system.slice/served.service", **{"cpu.max": "100000 200000"})
    assert quota.cpus(tmp_path, own) == 0.5
    groups(tmp_path, **{"cpu.max": "20000 100000"})
    assert quota.cpus(tmp_path, own) == 0.2


def test_of_the_first_version_only_the_groups_of_processors_count(tmp_path):
    own = tmp_path / "own"
    own.write_text("4:memory:/served\n3:cpuset:/served\n2:cpu,cpuacct:/a/b\n")
    groups(tmp_path / "cpu/served", **{**LIMIT_1, "cpu.cfs_quota_us": "10000"})
    assert quota.cpus(tmp_path, own) is None
    groups(tmp_path / "cpu/a", **LIMIT_1)
    groups(tmp_path / "cpu/a/b", **NO_LIMIT_1)
    assert quota.cpus(tmp_path, own) == 2
