"""Shows what the demo's models found as one HTML page, pictures included."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from runtime.cli.demo_tasks import Example, Result
from runtime.cli.sessions import brief
from runtime.pages import asset, escape, fill, milliseconds
from runtime.pages.placement import drawing
from runtime.version import __version__

SHOWN = 48
"""Pictures on the page: every mistake, then the first of the rest."""

Pair = tuple[Example, Example]


def page(results: Sequence[Result]) -> str:
    """Return the page; it needs neither network nor script."""
    network, trees, dates = results
    pairs = list(zip(network.examples, trees.examples, strict=True))
    wrong = [pair for pair in pairs if not (pair[0].right and pair[1].right)]
    fine = [pair for pair in pairs if pair[0].right and pair[1].right]
    shown = [*wrong, *fine][: max(SHOWN, len(wrong))]
    return fill(
        "demo.html",
        style=asset("style.css"),
        version=escape(__version__),
        facts="".join(_fact(result) for result in results),
        digits="".join(_tile(pair) for pair in shown),
        digit_count=f"{len(pairs):,}",
        digit_shown=f"{len(shown):,}",
        wrong_count=f"{len(wrong):,}",
        dates="".join(_date(example) for example in dates.examples),
        bars=_bars(results),
        placements="".join(_placement(result) for result in results),
        advice="".join(
            f"<dt><code>{escape(command)}</code></dt><dd>{escape(why)}</dd>"
            for command, why in advice(results)
        ),
    )


def advice(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Return commands to try after the demo, and what each is for."""
    path = _shown_path(results[0])
    return [
        (
            "runtime doctor",
            "which providers this machine could use, and what they lack",
        ),
        (
            f"runtime bench {path} --dim batch=8",
            "latency and throughput, placement beside",
        ),
        (
            f"runtime inspect {path} --save placement.html",
            "who runs which node, and why",
        ),
        ("runtime run your-model.onnx", "your own model, on random inputs"),
    ]


def _shown_path(result: Result) -> str:
    """Return the model's path, relative where that is shorter."""
    import os

    try:
        relative = os.path.relpath(result.path)
    except ValueError:
        relative = str(result.path)
    return min(relative, str(result.path), key=len)


def _fact(result: Result) -> str:
    return (
        f'<section class="fact"><h2>{escape(result.task.title.capitalize())}</h2>'
        f'<p class="big">{result.accuracy:.1%}</p>'
        f"<p>{result.right} of {result.total} {escape(result.task.unit)} right "
        f'<span class="dim">({result.published:.1%} when trained)</span></p>'
        f'<p class="dim">{escape(result.about)}</p></section>'
    )


def _tile(pair: Pair) -> str:
    network, trees = pair
    fine = network.right and trees.right
    kind = "" if fine else " miss"
    truth = "" if fine else f"<span>it is a <b>{escape(network.expected)}</b></span>"
    return (
        f'<figure class="tile{kind}"><img width="72" height="72" '
        f'alt="a handwritten {escape(network.expected)}" src="{picture(network.given)}">'
        f"<figcaption>{_verdict('network', network)}{_verdict('trees', trees)}"
        f"{truth}</figcaption></figure>"
    )


def _verdict(who: str, example: Example) -> str:
    mark, word = ("✓", "right") if example.right else ("✗", "wrong")
    chance = "" if example.certainty is None else f" {example.certainty:.0%}"
    told = f"{who}: {example.found}{chance}, {word}"
    if not example.right:
        told += f", it is {example.expected}"
    return (
        f'<span class="{word}" title="{escape(told)}"><span aria-hidden="true">{mark}'
        f"</span> {escape(who)} <b>{escape(example.found)}</b></span>"
    )


def picture(pixels: Any) -> str:
    """Return a small grey image, 0 to 16 from white to black, as a PNG data URI."""
    height, width = pixels.shape
    grey = 255 - (pixels.astype("uint16") * 255 // 16).astype("uint8")
    rows = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9))
    data = b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def _date(example: Example) -> str:
    mark, word = ("✓", "right") if example.right else ("✗", "wrong")
    expected = "" if example.right else f", it is {example.expected}"
    return (
        f"<li><span>{escape(example.given)}</span><code>{escape(example.found)}</code>"
        f'<span class="{word}">{mark} {word}{escape(expected)}</span></li>'
    )


def _bars(results: Sequence[Result]) -> str:
    """Return a bar for each model: the median, and the slowest in ten behind it."""
    longest = max(result.times.percentile(90) for result in results)
    rows = []
    for result in results:
        median, slow = result.times.percentile(50), result.times.percentile(90)
        rows.append(
            f'<tr><th scope="row">{escape(result.task.title)}</th><td class="bar">'
            f'<i class="slow" style="width:{slow / longest:.1%}"></i>'
            f'<i style="width:{median / longest:.1%}"></i></td>'
            f'<td class="number">{milliseconds(median)}</td>'
            f'<td class="number dim">{milliseconds(slow)}</td>'
            f'<td class="number dim">{milliseconds(result.creation)}</td></tr>'
        )
    return "".join(rows)


def _placement(result: Result) -> str:
    return (
        f"<section><h2>{escape(result.task.title.capitalize())}</h2>"
        f'<p class="dim">{escape(brief(result.placement))}</p>'
        f'<div class="scroll">{drawing(result.placement, buttons=False)}</div></section>'
    )
