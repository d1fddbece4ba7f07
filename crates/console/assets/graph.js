// One mesh as its graph. The server lays it out; what changes is drawn again in its place.

import { h, s } from "./dom.js";
import { SIGN, WORD, ago, count, duration, rate } from "./format.js";
import { write } from "./route.js";

const MARGIN = 24;

export class GraphView {
  constructor(onOpen) {
    this.onOpen = onOpen;
    this.elements = new Map();
    this.zoom = null;
    this.layers = { edge: s("g"), topic: s("g"), component: s("g") };
    const tips = ["", "loop", "dead"].map((kind) =>
      s(
        "marker",
        { id: `tip${kind}`, viewBox: "0 0 9 8", refX: 8, refY: 4, markerWidth: 9, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" },
        s("path", { class: `tip ${kind}`, d: "M0 0 9 4 0 8 2 4z" }),
      ),
    );
    this.svg = s(
      "svg",
      { role: "group", "aria-roledescription": "graph", onkeydown: (event) => this.key(event) },
      s("defs", {}, tips),
      Object.values(this.layers),
    );
    this.element = h("div", { class: "graph", tabindex: "-1" }, this.svg);
  }

  // Draws the items that changed; null for all.
  draw(state, changed, selected) {
    const start = performance.now();
    this.state = state;
    const { head, items } = state;
    // Setting an attribute to what it is already lays out the whole graph again.
    const shape = `${head.name} ${head.width} ${head.height}`;
    if (shape !== this.shape) {
      this.shape = shape;
      this.svg.setAttribute("aria-label", `Graph of ${head.name}. Use the arrow keys to follow the flow.`);
      this.size();
    }
    const ids = changed ?? [...new Set([...this.elements.keys(), ...items.keys()])];
    for (const id of ids) this.item(id, items.get(id));
    if (changed === null) this.order();
    this.select(selected);
    if (changed === null) performance.measure("draw", { start });
    if (!this.isShown) this.begin();
  }

  size() {
    const { width, height } = this.state.head;
    const [whole, high] = [width + 2 * MARGIN, height + 2 * MARGIN];
    this.svg.setAttribute("viewBox", `${-MARGIN} ${-MARGIN} ${whole} ${high}`);
    const room = this.element.clientWidth || whole;
    const fit = Math.min(1, room / whole);
    // Names can be read at first; who wants to see all of a long graph chooses so.
    const scale = this.zoom === "fit" ? fit : (this.zoom ?? Math.max(fit, 0.7));
    this.svg.setAttribute("width", Math.round(whole * scale));
    this.svg.setAttribute("height", Math.round(high * scale));
  }

  // The flow begins at the left, and in the middle of a high graph.
  begin() {
    const first = [...this.state.items.values()].find((item) => item.order === 0);
    if (!first) return;
    this.isShown = true;
    const scale = Number(this.svg.getAttribute("width")) / (this.state.head.width + 2 * MARGIN);
    if (!this.selected) this.element.scrollTop = (first.y + MARGIN) * scale - this.element.clientHeight / 2;
  }

  scale(factor) {
    const now = Number(this.svg.getAttribute("width")) / (this.state.head.width + 2 * MARGIN);
    this.zoom = factor === null ? "fit" : Math.min(3, Math.max(0.05, now * factor));
    this.size();
  }

  // The order of the flow is that of the tab key.
  order() {
    const components = [...this.elements].filter(([id]) => this.state.items.get(id)?.type === "component");
    components.sort(([a], [b]) => this.state.items.get(a).order - this.state.items.get(b).order);
    const focused = document.activeElement;
    this.layers.component.append(...components.map(([, element]) => element));
    if (this.svg.contains(focused)) focused.focus();
  }

  item(id, item) {
    let element = this.elements.get(id);
    if (!item) {
      element?.remove();
      this.elements.delete(id);
      return;
    }
    if (!element) {
      element = s("g");
      if (item.type === "component") {
        element.addEventListener("click", () => this.onOpen(id));
      }
      this.elements.set(id, element);
      this.layers[item.type].append(element);
    }
    const [attributes, children] = DRAW[item.type](item);
    for (const [name, value] of Object.entries(attributes)) {
      if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
    }
    element.replaceChildren(...children.filter(Boolean));
  }

  select(id) {
    this.elements.get(this.selected)?.removeAttribute("aria-current");
    const element = this.elements.get(id);
    element?.setAttribute("aria-current", "true");
    if (id !== this.selected) element?.scrollIntoView({ block: "nearest", inline: "center" });
    this.selected = id;
  }

  focus(id) {
    this.elements.get(id)?.focus();
  }

  key(event) {
    const id = [...this.elements].find(([, element]) => element === document.activeElement)?.[0];
    if (!id) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.onOpen(id);
      return;
    }
    const next = this.neighbour(id, event.key);
    if (next) {
      event.preventDefault();
      this.focus(next);
      this.elements.get(next).scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  // Left and right follow the flow, up and down go to the nearest one in that direction.
  neighbour(id, key) {
    const { items } = this.state;
    const middle = ({ y, height }) => y + height / 2;
    const here = items.get(id);
    const components = [...items].filter(([, item]) => item.type === "component");
    if (key === "ArrowUp" || key === "ArrowDown") {
      const sign = key === "ArrowUp" ? -1 : 1;
      const distance = ([, item]) => Math.abs(middle(item) - middle(here)) + Math.abs(item.x - here.x) * 2;
      const found = components.filter(([, item]) => (middle(item) - middle(here)) * sign > 0);
      return found.sort((a, b) => distance(a) - distance(b))[0]?.[0];
    }
    const [near, far] = { ArrowRight: ["from", "to"], ArrowLeft: ["to", "from"] }[key] ?? [];
    if (!near) return undefined;
    const edges = [...items.values()].filter((item) => item.type === "edge");
    const step = (from) => edges.filter((edge) => edge[near] === from).map((edge) => edge[far]);
    return step(id).flatMap(step).find((other) => items.get(other)?.type === "component" && other !== id);
  }
}

// What a component does, in a word.
export function stateOf(item) {
  if (item.asleep) return "asleep";
  if (item.stalled) return "stalled";
  if (item.rollout) return item.rollout;
  if (item.rolling) return "rolling out";
  return item.phase;
}

export function describe(item) {
  const parts = [`${item.kind} ${item.label}`, WORD[item.health], stateOf(item)];
  if (item.pods) parts.push(`${item.pods.ready} of ${item.pods.wanted} pods ready`);
  if (item.inRate !== null) parts.push(`${rate(item.inRate)} in`);
  if (item.outRate !== null) parts.push(`${rate(item.outRate)} processed`);
  if (item.backlog !== null) parts.push(`backlog ${count(item.backlog)}`);
  if (item.lagSeconds !== null) parts.push(`lag ${duration(item.lagSeconds)}`);
  if (item.exceptions) parts.push(`${count(item.exceptions)} exceptions in ten minutes`);
  if (item.reason) parts.push(item.reason);
  return parts.join(", ");
}

function shape({ kind, width, height }) {
  if (kind === "Source") return s("path", { class: "box", d: `M0 0H${width - 14}L${width} ${height / 2} ${width - 14} ${height}H0z` });
  if (kind === "Sink") return s("path", { class: "box", d: `M0 0H${width}V${height}H0L12 ${height / 2}z` });
  return s("rect", { class: "box", width, height, rx: 9 });
}

function elide(text, most) {
  const letters = [...text];
  if (letters.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return `${letters.slice(0, half).join("")}…${letters.slice(-half).join("")}`;
}

const DRAW = {
  component(item) {
    const middle = item.width / 2;
    const classes = ["component", item.kind, item.health, item.asleep && "asleep", item.stalled && "stalled", (item.rolling || item.rollout) && "rolling", item.rollout === "rolled back" && "back", item.inCycle && "cycle", !item.exists && "missing"];
    const caption = [item.kind.toUpperCase(), item.detail].filter(Boolean).join(" · ");
    const pods = item.pods ? ` ${item.pods.ready}/${item.pods.wanted}` : "";
    const sign = item.asleep ? "☾" : SIGN[item.health];
    const flow = item.asleep || item.outRate === null ? "" : ` · ${rate(item.outRate)}`;
    const attributes = {
      class: classes.filter(Boolean).join(" "),
      transform: `translate(${item.x} ${item.y})`,
      tabindex: 0,
      role: "button",
      "aria-label": describe(item),
    };
    return [
      attributes,
      [
        s("title", {}, describe(item)),
        shape(item),
        s("text", { class: "caption", x: middle, y: 19 }, elide(caption, 44)),
        s("text", { class: "name", x: middle, y: 39 }, elide(item.label, 32)),
        s("text", { class: "state", x: middle, y: 58 }, s("tspan", { class: "sign" }, sign), ` ${stateOf(item)}${pods}${flow}`),
        item.exceptions > 0 && s("g", { class: "badge", transform: `translate(${item.width - 8} 0)` }, s("rect", { x: -16, y: -10, width: 32, height: 18, rx: 9 }), s("text", { y: 3 }, `!${count(item.exceptions)}`)),
      ],
    ];
  },

  topic(item) {
    const middle = item.width / 2;
    const place = item.purpose ?? { input: "from outside", output: "to outside", internal: "" }[item.boundary];
    const flow = item.rate === null ? "" : rate(item.rate);
    const small = [place, flow].filter(Boolean).join(" · ");
    const classes = ["topic", item.boundary, item.isLabel && "label", item.isPattern && "pattern", item.inCycle && "cycle"];
    const name = small ? item.height / 2 - 2 : item.height / 2 + 4;
    return [
      { class: classes.filter(Boolean).join(" "), transform: `translate(${item.x} ${item.y})` },
      [
        s("title", {}, [item.full, small].filter(Boolean).join(", ")),
        s("rect", { class: "pill", width: item.width, height: item.height, rx: 14 }),
        s("text", { class: "name", x: middle, y: name }, elide(item.label, 40)),
        small && s("text", { class: "small", x: middle, y: item.height / 2 + 12 }, small),
      ],
    ];
  },

  edge(item) {
    const kind = item.inCycle ? "loop" : item.flow === "dead-letters" ? "dead" : "";
    const dashed = item.flow === "messages" ? "" : "dashed";
    const pieces = item.pieces.map(({ d, tip }) => s("path", { class: "flow", d, "marker-end": tip ? `url(#tip${kind})` : null }));
    const waiting = item.backlog > 0;
    const late = waiting && item.lagSeconds !== null ? ` · ${duration(item.lagSeconds)}` : "";
    const [x, y] = item.end;
    const at = item.isReversed ? { x: x + 12, "text-anchor": "start" } : { x: x - 12, "text-anchor": "end" };
    const known = item.backlog === null ? "" : `, backlog ${count(item.backlog)}, lag ${duration(item.lagSeconds)}`;
    return [
      { class: ["edge", kind, dashed, waiting ? "waiting" : ""].filter(Boolean).join(" ") },
      [
        s("title", {}, `${item.topic}: ${item.flow}${known}`),
        ...pieces,
        waiting && s("text", { class: "backlog", y: y - 6, ...at }, `${count(item.backlog)}${late}`),
      ],
    ];
  },
};

// The same as a table, for those who prefer one.
export function componentTable({ items }, route) {
  const rows = [...items.values()].filter((item) => item.type === "component").sort((a, b) => a.order - b.order);
  const heads = ["Health", "Component", "State", "Pods", "In", "Processed", "Backlog", "Lag", "Exceptions", "Cause"];
  const cell = (text) => h("td", { class: "number" }, text);
  const line = (item) => {
    const link = write({ ...route, kind: item.kind.toLowerCase(), component: item.name });
    return h(
      "tr",
      { class: item.health },
      h("td", {}, h("span", { class: `health ${item.health}` }, `${SIGN[item.health]} ${WORD[item.health]}`)),
      h("th", { scope: "row" }, h("a", { href: link }, item.label), h("small", {}, ` ${item.kind}`)),
      h("td", {}, stateOf(item)),
      cell(item.pods ? `${item.pods.ready}/${item.pods.wanted}` : "–"),
      [rate(item.inRate), rate(item.outRate), count(item.backlog), duration(item.lagSeconds), count(item.exceptions)].map(cell),
      h("td", { class: "cause" }, item.reason ?? ""),
    );
  };
  return h(
    "div",
    { class: "scroll" },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows.map(line))),
  );
}

export function title(head) {
  const since = head.since ? ` for ${ago(head.since)}` : "";
  return [
    h("h1", {}, head.name === "-" ? "Components without a mesh" : head.name),
    h(
      "p",
      { class: "tools" },
      h("span", { class: `health ${head.health}` }, `${SIGN[head.health]} ${WORD[head.health]}`),
      head.name !== "-" && h("span", {}, `mesh ${head.state}${since}`),
      h("span", {}, `${head.ready}/${head.wanted} components ready`),
      head.notes.map((note) => h("span", { class: "note" }, note)),
    ),
    head.reasons.length > 0 && h("ul", { class: "reasons" }, head.reasons.map((reason) => h("li", {}, reason))),
  ];
}
