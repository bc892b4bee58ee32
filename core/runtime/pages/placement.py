"""Shows a placement as one page of HTML that opens offline: partitions, then nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from runtime.explain import Event, NodeRecord, PartitionRecord, Placement
from runtime.pages import (
    amount,
    asset,
    digest,
    embed,
    escape,
    fill,
    milliseconds,
    short,
)
from runtime.pages.layers import arrange
from runtime.pages.partitions import (
    colour,
    curve,
    drawings,
    operators,
    value_types,
)

MOST_NODES_DRAWN = 2000
NODE_HEIGHT = 26


def page(placement: Placement) -> str:
    """Return the page: no network, no external files, safe for names of any kind."""
    script = asset("placement.js")
    model = escape(placement.model or "model")
    return fill(
        "placement.html",
        title=f"{model} — placement",
        style=asset("style.css"),
        digest=digest(script),
        script=script,
        model=model,
        lead=_lead(placement),
        facts=_facts(placement),
        providers=_providers(placement),
        events="".join(_event(event) for event in placement.events),
        owners=_owners(placement),
        drawings=drawing(placement),
        refusals=_refusals(placement),
        tables="".join(_tables(placement)),
        data=embed(_data(placement)),
    )


def drawing(placement: Placement, buttons: bool = True) -> str:
    """Return the partitions as SVG, each graph under its own heading."""
    parts = []
    for path, svg in drawings(placement, buttons):
        if path:
            parts.append(f"<h3>{escape(' > '.join(path))}</h3>")
        parts.append(svg)
    return "".join(parts) or '<p class="dim">The graph has no nodes left to run.</p>'


def _lead(placement: Placement) -> str:
    running = ", ".join(short(name) for name in placement.providers) or "no provider"
    missing = [n for n in placement.requested if n not in placement.providers]
    lost = f"; asked for and not in use: {', '.join(missing)}" if missing else ""
    return escape(f"Placed on {running}{lost}")


def _facts(placement: Placement) -> str:
    makers = Counter(part.provider for part in placement.partitions)
    build = sum(placement.seconds.values())
    facts = [
        ("Nodes", f"{len(placement.nodes):,}", ""),
        ("Partitions", f"{len(placement.partitions):,}", f"on {len(makers)}"),
        ("Device copies per run", f"{len(placement.transfers):,}", ""),
    ]
    if build:
        split = ", ".join(
            f"{stage} {milliseconds(seconds)}"
            for stage, seconds in placement.seconds.items()
        )
        facts.append(("Made ready in", milliseconds(build), split))
    return "".join(
        f"<div><dt>{escape(title)}</dt><dd>{escape(value)} "
        f"<small>{escape(more)}</small></dd></div>"
        for title, value, more in facts
    )


def _providers(placement: Placement) -> str:
    counts = placement.counts()
    names = list(dict.fromkeys([*placement.providers, *counts]))
    bars = "".join(
        f'<i class="c{colour(placement, name)}" '
        f'style="flex:{placement.share(name):.4f}" title="{escape(name)}"></i>'
        for name in names
        if placement.share(name) > 0
    )
    rows = [_provider_row(placement, name, counts.get(name, 0)) for name in names]
    known = {short(name).lower() for name in names}
    for name in placement.requested:
        if short(name).lower() not in known:
            why = next((e for e in placement.events if e.provider == name), None)
            told = why.reason if why else "not in use"
            rows.append(
                f'<tr><td><i class="swatch none"></i><b>{_breakable(name)}</b> '
                f'<span class="dim">{escape(told)}</span></td>'
                "<td></td><td></td><td></td><td></td></tr>"
            )
    head = _head("Provider", "Work#", "Nodes#", "Partitions#", "Devices")
    bar = f'<div class="share" aria-hidden="true">{bars}</div>' if bars else ""
    return f'{bar}<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _provider_row(placement: Placement, name: str, nodes: int) -> str:
    own = [part for part in placement.partitions if part.provider == name]
    devices = ", ".join(dict.fromkeys(part.device for part in own)) or "—"
    return (
        f'<tr><td><i class="swatch c{colour(placement, name)}"></i>'
        f"<b>{_breakable(name)}</b></td>"
        f'<td class="number">{placement.share(name):.1%}</td>'
        f'<td class="number">{nodes:,}</td><td class="number">{len(own):,}</td>'
        f'<td class="mono">{escape(devices)}</td></tr>'
    )


def _breakable(name: str) -> str:
    """Return a provider's name, which may be broken where its common ending begins."""
    start = escape(short(name))
    return f"{start}<wbr>{escape(name)[len(start) :]}"


def _event(event: Event) -> str:
    remedy = (
        f'<span class="remedy">{escape(event.remedy)}</span>' if event.remedy else ""
    )
    told = str(event).removesuffix(f"; {event.remedy}") if event.remedy else str(event)
    return (
        f'<div class="event" role="note"><b aria-hidden="true">!</b>'
        f"<div>{escape(told)}{remedy}</div></div>"
    )


def _owners(placement: Placement) -> str:
    options = [("", "all nodes")]
    options += [(name, f"run by {short(name)}") for name in placement.counts()]
    if any(node.refusals for node in placement.nodes):
        options.append(("refused", "refused by a provider"))
    return "".join(
        f'<option value="{escape(value)}">{escape(label)}</option>'
        for value, label in options
    )


def _refusals(placement: Placement) -> str:
    reasons = Counter(
        (node.op_type, node.domain, provider, reason)
        for node in placement.nodes
        for provider, reason in node.refusals.items()
    )
    if not reasons:
        return '<p class="dim">No provider refused a node.</p>'
    rows = "".join(
        f'<tr><td><button type="button" class="link" data-query="{escape(op)}">'
        f"{escape(f'{domain}.{op}' if domain else op)}</button></td>"
        f"<td>{escape(provider)}</td><td>{escape(reason or 'no reason given')}</td>"
        f'<td class="number">{count:,}</td></tr>'
        for (op, domain, provider, reason), count in reasons.most_common()
    )
    head = _head("Operator", "Provider", "Reason", "Nodes#")
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _tables(placement: Placement) -> Iterable[str]:
    passes = [
        (name, f"{changes:,}", milliseconds(seconds))
        for name, changes, seconds in placement.passes
    ]
    if passes:
        yield _table("Passes", ("Pass", "Changes#", "Time#"), passes)
    if placement.transfers:
        title = "Copies between devices, per run"
        yield _table(title, ("Value", "From", "To"), placement.transfers)
    if placement.settings:
        pairs = [(key, str(value)) for key, value in placement.settings.items()]
        yield _table("Settings", ("Setting", "Value"), pairs)


def _table(title: str, columns: Sequence[str], rows: Iterable[tuple[str, ...]]) -> str:
    marks = [' class="number"' if name.endswith("#") else "" for name in columns]
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark}>{escape(cell)}</td>"
            for mark, cell in zip(marks, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    table = f'<div class="scroll"><table>{_head(*columns)}{body}</table></div>'
    return f"<section><h2>{escape(title)}</h2>{table}</section>"


def _head(*columns: str) -> str:
    cells = "".join(
        f'<th scope="col" class="number">{escape(name[:-1])}</th>'
        if name.endswith("#")
        else f'<th scope="col">{escape(name)}</th>'
        for name in columns
    )
    return f"<tr>{cells}</tr>"


def _data(placement: Placement) -> dict[str, Any]:
    types = value_types(placement)
    reasons: dict[str, int] = {}
    rows = [
        [
            *(node.name, node.op_type, node.domain, node.version, node.partition),
            *(node.inputs, node.outputs, node.types),
            [
                [p, reasons.setdefault(r, len(reasons))]
                for p, r in node.refusals.items()
            ],
            *(node.origins, node.body),
        ]
        for node in placement.nodes
    ]
    return {
        "nodes": rows,
        "reasons": list(reasons),
        "partitions": [_part(placement, p, types) for p in placement.partitions],
        "graph": _graph(placement.nodes),
        "limit": MOST_NODES_DRAWN,
    }


def _part(
    placement: Placement, part: PartitionRecord, types: dict[str, str]
) -> dict[str, Any]:
    facts = {
        "device": part.device,
        "nodes": f"{part.nodes:,}, {part.work:.1%} of the model's work",
        "operators": operators(part.op_types),
        "crosses its edge": f"{amount(part.boundary_bytes)} per run",
        "compiled in": milliseconds(part.compile_seconds),
        "weights": ", ".join(f"{n} {kind}" for kind, n in part.weights.items()),
        "in": " > ".join(part.body),
        **part.facts,
    }
    return {
        "index": part.index,
        "provider": part.provider,
        "short": short(part.provider),
        "tone": colour(placement, part.provider),
        "facts": [[key, str(value)] for key, value in facts.items() if value],
        "inputs": [[name, types.get(name, "")] for name in part.inputs],
        "outputs": [[name, types.get(name, "")] for name in part.outputs],
    }


def _graph(nodes: Sequence[NodeRecord]) -> dict[str, Any] | None:
    """Return where every node of a model that is not too large is drawn."""
    if not 0 < len(nodes) <= MOST_NODES_DRAWN:
        return None
    maker = {(n.body, name): at for at, n in enumerate(nodes) for name in n.outputs}
    edges = {
        (source, at)
        for at, node in enumerate(nodes)
        for name in node.inputs
        if (source := _source(maker, node.body, name)) is not None and source != at
    }
    sizes = [(22 + 7.2 * len(node.op_type), NODE_HEIGHT) for node in nodes]
    layout = arrange(sizes, sorted(edges), across=16, down=26)
    lines = (curve(line) for points in layout.paths for line in pairwise(points))
    return {
        "boxes": [
            [round(x, 1), round(y, 1), round(size[0], 1)]
            for (x, y), size in zip(layout.boxes, sizes, strict=True)
        ],
        "wires": "".join(dict.fromkeys(lines)),
        "width": round(layout.width),
        "height": round(layout.height),
        "tall": NODE_HEIGHT,
    }


def _source(
    maker: dict[tuple[tuple[str, ...], str], int], body: tuple[str, ...], name: str
) -> int | None:
    """Return the node that makes a value, in its own graph or one around it."""
    for depth in range(len(body), -1, -1):
        if (body[:depth], name) in maker:
            return maker[body[:depth], name]
    return None
