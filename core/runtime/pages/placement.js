"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const PAGE = 200;
const state = { part: null, node: null, query: "", owner: "", shown: PAGE };

const nodes = data.nodes.map(([name, op, domain, version, part, inputs, outputs, types, refusals, origins, body], id) => ({
  id, name, op, domain, version, part, inputs, outputs, types, origins, body,
  refusals: refusals.map(([provider, reason]) => [provider, data.reasons[reason]]),
}));
for (const node of nodes) {
  node.text = [node.op, node.domain, node.name, ...node.origins, ...node.inputs, ...node.outputs, ...node.types,
    ...node.refusals.flat()].join("\n").toLowerCase();
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "onclick") made.addEventListener("click", value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawn(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const swatch = (tone) => element("i", { class: `swatch c${tone}`, "aria-hidden": "true" });

function matching() {
  const { query, owner, part } = state;
  return nodes.filter((node) =>
    (part === null || node.part === part) &&
    (!query || node.text.includes(query)) &&
    (!owner || (owner === "refused" ? node.refusals.length > 0
      : data.partitions[node.part].provider === owner)));
}

function pairs(entries) {
  const list = element("dl", { class: "pairs" });
  for (const [key, value] of entries) {
    list.append(element("dt", {}, key), element("dd", {}, value));
  }
  return list;
}

function partCard(part) {
  const listing = (title, values) => {
    const list = element("ul", { class: "mono" });
    for (const [name, type] of values) list.append(element("li", {}, type ? `${name}: ${type}` : name));
    return element("details", {}, element("summary", {}, count(values.length, title)), list);
  };
  return [
    element("h2", {}, swatch(part.tone), `Partition ${part.index}: ${part.provider}`),
    pairs(part.facts),
    listing("input", part.inputs),
    listing("output", part.outputs),
  ];
}

function nodeRow(node, several) {
  const part = data.partitions[node.part];
  const version = node.domain ? `${node.domain} ${node.version}` : `opset ${node.version}`;
  const origins = node.origins.filter((origin) => origin !== node.name);
  const named = element("td", {}, element("button", {
    type: "button", class: "link mono", onclick: () => choose({ node: node.id, part: node.part }),
  }, node.name || "unnamed"));
  if (origins.length) named.append(element("div", { class: "dim" }, `from ${origins.join(", ")}`));
  const refused = element("td");
  for (const [provider, reason] of node.refusals) {
    refused.append(element("span", { class: "reason" }, element("b", {}, provider), ` ${reason}`));
  }
  const types = element("td", { class: "mono" });
  for (const type of node.types) types.append(element("div", {}, type.replace(/([,)])/g, "$1\u200b")));
  return element("tr", {},
    element("td", {}, node.op, element("div", { class: "dim" }, version)),
    named,
    types,
    several ? element("td", { class: "owner" }, swatch(part.tone), `${part.index} · ${part.short}`) : null,
    refused);
}

function nodeTable(found) {
  const several = state.part === null;
  const titles = ["Operator", "Node", "Makes", ...(several ? ["Owner"] : []), "Refused by"];
  const body = element("tbody");
  for (const node of found.slice(0, state.shown)) body.append(nodeRow(node, several));
  const table = element("table", { class: "nodes" },
    element("thead", {}, element("tr", {}, ...titles.map((title) => element("th", { scope: "col" }, title)))), body);
  const rest = found.length - state.shown;
  return [
    element("div", { class: "scroll" }, table),
    rest > 0 ? element("button", {
      type: "button", onclick: () => { state.shown += PAGE; detail(); },
    }, `Show ${Math.min(rest, PAGE)} more of ${count(rest, "node")} left`) : null,
  ];
}

function nodeCard(node) {
  const part = data.partitions[node.part];
  return [
    element("h2", {}, swatch(part.tone), `${node.op} ${node.name}`),
    pairs([
      ["operator", `${node.domain || "ai.onnx"} ${node.op}, opset ${node.version}`],
      ["owner", `partition ${node.part}, ${part.provider}`],
      ["in your file", node.origins.join(", ") || "made by a pass"],
      ["reads", node.inputs.join(", ") || "nothing"],
      ["makes", node.outputs.map((name, at) => `${name}: ${node.types[at]}`).join(", ")],
      ...(node.body.length ? [["in", node.body.join(" > ")]] : []),
      ...node.refusals.map(([provider, reason]) => [`${provider} refused`, reason]),
    ]),
  ];
}

function detail() {
  const found = matching();
  const filtered = state.query || state.owner;
  const where = state.part === null ? "" : ` in partition ${state.part}`;
  const back = state.part !== null || filtered ? element("button", {
    type: "button", class: "link", onclick: () => { $("query").value = $("owner").value = ""; choose({ query: "", owner: "", part: null, node: null }); },
  }, "show all") : null;
  const hint = state.part === null && !filtered ? " — choose a partition to see only its own" : "";
  $("status").textContent = `${count(found.length, "node")}${where}`;
  $("detail").replaceChildren(
    ...(state.node !== null ? nodeCard(nodes[state.node]) : state.part !== null ? partCard(data.partitions[state.part]) : []),
    element("h3", {}, `${count(found.length, "node")}${where}${hint} `, ...(back ? [back] : [])),
    ...nodeTable(found).filter(Boolean));
  return found;
}

function mark(found) {
  const filtered = state.query || state.owner;
  const parts = new Set(found.map((node) => node.part));
  for (const box of document.querySelectorAll(".part")) {
    const index = Number(box.dataset.part);
    box.setAttribute("aria-pressed", String(index === state.part));
    box.classList.toggle("off", Boolean(filtered) && state.part === null && !parts.has(index));
  }
  const ids = new Set(found.map((node) => node.id));
  for (const box of $("nodes").querySelectorAll(".node")) {
    const id = Number(box.dataset.node);
    box.classList.toggle("on", id === state.node);
    box.classList.toggle("off", !ids.has(id));
  }
}

function choose(change) {
  Object.assign(state, change, { shown: PAGE });
  mark(detail());
}

function pressed(event, attribute) {
  if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return null;
  const box = event.target.closest(`[data-${attribute}]`);
  if (box && event.type === "keydown") event.preventDefault();
  return box ? Number(box.dataset[attribute]) : null;
}

for (const type of ["click", "keydown"]) {
  $("parts").addEventListener(type, (event) => {
    const part = pressed(event, "part");
    if (part !== null) choose({ part: part === state.part ? null : part, node: null });
  });
  $("nodes").addEventListener(type, (event) => {
    const node = pressed(event, "node");
    if (node !== null) choose({ node: node === state.node ? null : node, part: node === state.node ? null : nodes[node].part });
  });
}
$("query").addEventListener("input", (event) => choose({ query: event.target.value.trim().toLowerCase(), node: null }));
$("owner").addEventListener("change", (event) => choose({ owner: event.target.value, part: null, node: null }));
for (const button of document.querySelectorAll("[data-query]")) {
  button.addEventListener("click", () => {
    $("query").value = button.dataset.query;
    choose({ query: button.dataset.query.toLowerCase(), part: null, node: null });
    $("query").scrollIntoView({ block: "start", behavior: "smooth" });
  });
}

function drawNodes() {
  const graph = data.graph;
  const svg = drawn("svg", {
    class: "drawing", role: "group", "aria-label": "Every node",
    viewBox: `-12 -12 ${graph.width + 24} ${graph.height + 24}`, width: graph.width + 24, height: graph.height + 24,
  }, $("nodes"));
  drawn("path", { class: "wires", d: graph.wires }, svg);
  graph.boxes.forEach(([x, y, width], id) => {
    const node = nodes[id];
    const box = drawn("g", {
      class: `node c${data.partitions[node.part].tone}`, "data-node": id, tabindex: 0, role: "button",
      "aria-label": `${node.op} ${node.name}`, transform: `translate(${x} ${y})`,
    }, svg);
    drawn("title", {}, box).textContent = `${node.op} ${node.name}\npartition ${node.part}, ${data.partitions[node.part].provider}`;
    drawn("rect", { width, height: graph.tall, rx: 6 }, box);
    drawn("text", { x: width / 2, y: graph.tall / 2 + 4 }, box).textContent = node.op;
  });
}

function show(kind) {
  const flat = kind === "nodes";
  if (flat && !$("nodes").firstChild) drawNodes();
  $("parts").hidden = flat;
  $("nodes").hidden = !flat;
  $("show-parts").setAttribute("aria-pressed", String(!flat));
  $("show-nodes").setAttribute("aria-pressed", String(flat));
  fit();
  mark(matching());
}

let zoom = 1;
function resize(factor) {
  zoom = Math.max(0.05, Math.min(3, factor));
  for (const svg of document.querySelectorAll(".stage .drawing")) {
    svg.style.width = `${svg.getAttribute("width") * zoom}px`;
    svg.style.height = `${svg.getAttribute("height") * zoom}px`;
  }
}
function fit() {
  const wide = [...document.querySelectorAll(".stage .drawing")]
    .filter((svg) => svg.getClientRects().length)
    .map((svg) => Number(svg.getAttribute("width")));
  const room = $("stage").clientWidth - 30;
  resize(Math.max(0.4, Math.min(1, room / Math.max(...wide, 1))));
}
$("smaller").addEventListener("click", () => resize(zoom / 1.25));
$("larger").addEventListener("click", () => resize(zoom * 1.25));
$("fit").addEventListener("click", fit);
$("show-parts").addEventListener("click", () => show("parts"));
$("show-nodes").addEventListener("click", () => show("nodes"));
if (!data.graph) {
  $("show-nodes").disabled = true;
  $("show-nodes").title = `drawn for models of up to ${data.limit} nodes`;
}
fit();
choose({});
