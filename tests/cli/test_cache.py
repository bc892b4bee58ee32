"""`runtime cache`: what is in it, whether it is whole, smaller, and ready."""

import json
import os
import subprocess
import sys

import pytest
from runtime.cache import CompileCache
from runtime.cli.exits import Exit


@pytest.fixture
def cache(tmp_path):
    made = CompileCache(tmp_path / "kept")
    for key, size in (("aa01", 10), ("aa02", 100), ("bb03", 1000)):
        made.put(key, b"x" * size)
    return made


def test_entries_are_listed_with_their_sizes(call, cache):
    found = call("cache", "ls", "--directory", cache.directory, "--json").data
    assert {entry["key"] for entry in found["entries"]} == {"aa01", "aa02", "bb03"}
    assert found["bytes"] == sum(entry["bytes"] for entry in found["entries"]) > 1110
    text = call("cache", "ls", "--directory", cache.directory).out
    assert "aa02" in text
    assert "3 entries" in text
    assert "0 entries" in call("cache", "ls", "--directory", "nowhere").out


def test_entries_are_removed_by_how_their_key_begins(call, cache):
    found = call("cache", "rm", "aa", "--directory", cache.directory, "--json").data
    assert sorted(found["removed"]) == ["aa01", "aa02"]
    assert [path.stem for path in cache.entries()] == ["bb03"]


def test_entries_that_were_not_used_for_long_are_removed(call, cache):
    old = cache.path("bb03")
    os.utime(old, (0, 0))
    found = call(
        "cache", "rm", "--older-than", "30", "--directory", cache.directory, "--json"
    ).data
    assert found["removed"] == ["bb03"]
    assert not old.exists()


def test_everything_is_removed_where_that_is_asked_for(call, cache):
    assert call("cache", "rm", "--all", "--directory", cache.directory).code == Exit.OK
    assert not cache.entries()


@pytest.mark.parametrize("words", [(), ("aa", "--all"), ("zz",)])
def test_it_has_to_be_clear_what_to_remove(call, cache, words):
    result = call("cache", "rm", *words, "--directory", cache.directory)
    assert result.code == Exit.USAGE
    assert len(cache.entries()) == 3


def test_damage_is_found_and_removed_where_that_is_asked_for(call, cache):
    where = ("--directory", cache.directory)
    assert call("cache", "verify", *where).code == Exit.OK
    path = cache.path("aa02")
    path.write_bytes(path.read_bytes()[:-1] + b"y")
    result = call("cache", "verify", *where, "--json")
    assert result.code == Exit.CHECK_FAILED
    assert list(result.data["damaged"]) == ["aa02"]
    assert path.exists()
    call("cache", "verify", "--remove", *where)
    assert not path.exists()
    assert call("cache", "verify", *where).code == Exit.OK


def test_a_warm_cache_has_what_a_session_needs(call, model, tmp_path):
    pytest.importorskip("llvmlite")
    where = ("--directory", tmp_path / "warm")

    def warm():
        words = ["cache", "warm", model, "--dim", "batch=3", *where, "--json"]
        line = [sys.executable, "-m", "runtime.cli", *map(str, words)]
        run = subprocess.run(line, capture_output=True, text=True, check=True)
        return {*json.loads(run.stdout)["new"]}

    first = warm()
    assert first
    assert not warm() & first
    assert call("cache", "verify", *where).code == Exit.OK
