// All meshes as a table.

import { h } from "./dom.js";
import { SIGN, UNKNOWN, WORD, ago, count, duration } from "./format.js";
import { write } from "./route.js";

const RANK = { Degraded: 0, Stalled: 1, NotReady: 2, Healthy: 3 };

export function overview({ head, items }, filter, onFilter) {
  const rows = [...items.values()].sort(
    (a, b) => RANK[a.health] - RANK[b.health] || a.namespace.localeCompare(b.namespace) || a.name.localeCompare(b.name),
  );
  const wanted = filter.toLowerCase();
  const shown = rows.filter((row) => `${row.namespace}/${row.name}`.toLowerCase().includes(wanted));
  const { namespaces } = head;
  const scope = namespaces.length === 0 ? "all namespaces" : `namespace${namespaces.length > 1 ? "s" : ""} ${namespaces.join(", ")}`;
  return [
    h("h1", {}, "Meshes"),
    h(
      "p",
      { class: "tools" },
      h("span", {}, `${rows.length} in ${scope}: ${summary(rows)}`),
      h("label", {}, "Filter ", h("input", { type: "search", value: filter, id: "filter", oninput: (event) => onFilter(event.target.value) })),
    ),
    rows.length === 0 && h("p", {}, head.synced ? "There is no mesh and no component here yet." : "Reading…"),
    rows.length > 0 && h("div", { class: "scroll" }, table(shown)),
  ];
}

function summary(rows) {
  const parts = Object.keys(RANK).map((health) => [rows.filter((row) => row.health === health).length, WORD[health]]);
  return parts.filter(([number]) => number > 0).map(([number, word]) => `${number} ${word}`).join(", ") || "none";
}

function table(rows) {
  const heads = ["Health", "Mesh", "State", "Components", "Backlog", "Lag", "Exceptions", "Cause"];
  return h(
    "table",
    {},
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map(line)),
  );
}

function line(row) {
  const name = row.name === "-" ? `${row.namespace}: components without a mesh` : `${row.namespace}/${row.name}`;
  const since = row.since ? ` for ${ago(row.since)}` : "";
  const asleep = row.asleep > 0 ? `, ${row.asleep} asleep` : "";
  const numbers = [count(row.backlog), duration(row.lagSeconds), count(row.exceptions)];
  return h(
    "tr",
    { class: row.health },
    h("td", {}, h("span", { class: `health ${row.health}` }, `${SIGN[row.health]} ${WORD[row.health]}`)),
    h("th", { scope: "row" }, h("a", { href: write({ namespace: row.namespace, mesh: row.name }) }, name)),
    h("td", {}, `${row.state}${since}`),
    h("td", {}, `${row.ready}/${row.wanted}${asleep}`),
    numbers.map((text) => h("td", { class: text === UNKNOWN ? "number unknown" : "number" }, text)),
    h("td", { class: "cause" }, row.reasons[0] ?? ""),
  );
}
