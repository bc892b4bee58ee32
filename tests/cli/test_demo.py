"""`runtime demo`: right answers on unseen data, and one page that needs nothing else."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from runtime.cli import demo_tasks
from runtime.cli.exits import Exit


@pytest.fixture(scope="module")
def results():
    return [demo_tasks.perform(task, []) for task in demo_tasks.TASKS]


def test_the_models_do_as_well_as_when_they_were_trained(results):
    assert [one.as_trained for one in results] == [True, True, True]
    assert [one.total for one in results] == [450, 450, demo_tasks.DATES]
    for one in results:
        assert abs(one.accuracy - one.published) < 0.005


def test_the_command_prints_the_result_and_writes_the_page(call, tmp_path):
    result = call("demo")
    assert result.code == Exit.OK
    assert "448 of 450 digits" in result.out
    assert "24 of 24 dates" in result.out
    assert "runtime doctor" in result.out
    assert (tmp_path / "runtime-demo.html").exists()


def test_json_has_accuracy_latency_and_placement(call, tmp_path):
    result = call("demo", "--json", "--page", "here.html")
    assert result.code == Exit.OK
    assert result.data["page"] == str(tmp_path / "here.html")
    for one in result.data["models"]:
        assert one["accuracy"] > 0.95
        assert one["latency"]["p50"] > 0
        assert one["placement"]["providers"]


class Page(HTMLParser):
    """Collects what a page contains and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset", "data")]


def test_the_page_is_self_contained_and_marks_every_mistake(results):
    from runtime.cli.demo_page import page

    text = page(results)
    found = Page(text)
    assert found.tags.count("svg") == 3
    assert "script" not in found.tags
    assert all(url.startswith("data:image/png;base64,") for url in found.loads)
    assert not re.search(r"url\(|@import|http:|https:", text)
    digits = zip(results[0].examples, results[1].examples, strict=True)
    mistakes = sum(not (a.right and b.right) for a, b in digits)
    assert text.count('class="tile miss"') == mistakes > 0


def test_pictures_are_what_was_fed(results):
    import base64
    import zlib

    import numpy as np
    from runtime.cli.demo_page import picture

    image = results[0].examples[0].given
    data = base64.b64decode(picture(image).partition(",")[2])
    start = data.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompressobj().decompress(data[start:]), np.uint8)
    grey = rows.reshape(8, 9)[:, 1:]
    assert np.array_equal(grey, 255 - image.astype(int) * 255 // 16)


def test_a_model_that_does_worse_is_reported(call, monkeypatch):
    honest = demo_tasks.perform

    def perform(task, asked):
        result = honest(task, asked)
        result.examples = [replace(one, found="?") for one in result.examples]
        return result

    monkeypatch.setattr(demo_tasks, "perform", perform)
    result = call("demo")
    assert result.code == Exit.CHECK_FAILED
    assert "0.0% right, but 99.6% when it was trained" in result.err


def test_a_page_that_cannot_be_written_is_said(call):
    result = call("demo", "--page", "nowhere/page.html")
    assert result.code == Exit.USAGE
    assert "name another file with --page" in result.err


def test_a_provider_that_is_elsewhere_warns_once(call):
    result = call("demo", "-p", "qnn")
    assert result.code == Exit.OK
    assert result.err.count("warning: ") == 1
