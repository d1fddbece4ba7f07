// The page: follows the URL, and shows what the events say.

import { Actions } from "./actions.js";
import { announce, byId, h, replace } from "./dom.js";
import { follow, get, hasToken, start, useToken } from "./client.js";
import { GraphView, componentTable, stateOf, title } from "./graph.js";
import { overview } from "./overview.js";
import { Panel } from "./panel.js";
import { signIn } from "./sign-in.js";
import { read, set, takeToken, write } from "./route.js";

// How often ages are written anew.
const AGE = 30000;

const main = byId("main");
const panel = new Panel(byId("panel"), closePanel);
let stop = null;
let subject = null;
let state = null;
let graph = null;
let parts = null;
let health = new Map();
let hasActions = false;

function connection(error, isFinal) {
  const text = !error ? "live" : isFinal ? "ended" : "no connection; trying again";
  byId("connection").textContent = text;
  byId("connection").className = error ? "lost" : "live";
  if (error?.needsToken) {
    askForToken(error.message);
  } else if (isFinal) {
    stop = null;
    problem(error.message);
    main.replaceChildren(h("p", {}, "Nothing to show."));
  }
}

// Shows the form, and then the page that the URL names.
function askForToken(reason) {
  stop?.();
  stop = null;
  subject = null;
  panel.close();
  problem(null);
  useToken(null);
  byId("user").replaceChildren();
  byId("connection").textContent = "";
  byId("connection").className = "";
  const use = (token) => {
    useToken(token);
    showUser();
    route();
  };
  main.replaceChildren(signIn(reason, use));
  byId("token").focus();
}

// Who has signed in, where there are users.
async function showUser() {
  const { user, dashboard, actions } = await get("/api/v1/session").catch(() => ({}));
  panel.use(dashboard, actions);
  hasActions = Boolean(actions);
  if (graph) showAgain();
  const leave = () => askForToken("You have signed out.");
  const out = hasToken() && h("button", { type: "button", onclick: leave }, "Sign out");
  byId("user").replaceChildren(...[user, user && out].filter(Boolean));
}

function problem(text) {
  byId("problem").hidden = !text;
  byId("problem").textContent = text ?? "";
}

function path({ namespace, mesh }) {
  const name = mesh === "-" ? "components without a mesh" : mesh;
  const link = mesh && h("a", { href: write({ namespace, mesh }), "aria-current": "page" }, `${namespace}/${name}`);
  replace(byId("path"), [h("a", { href: "#/" }, "Meshes"), link]);
  document.title = mesh ? `${namespace}/${name} · Function Mesh` : "Function Mesh";
}

function route() {
  const now = read();
  const wanted = now.mesh ? `/api/v1/meshes/${encodeURIComponent(now.namespace)}/${encodeURIComponent(now.mesh)}/events` : "/api/v1/events";
  path(now);
  if (wanted !== subject) {
    stop?.();
    panel.close();
    subject = wanted;
    state = null;
    graph = null;
    parts = null;
    health = new Map();
    main.replaceChildren(h("p", {}, "Reading…"));
    stop = follow(wanted, {
      onState: (next, changed) => {
        if (wanted !== subject) return;
        state = next;
        show(changed);
      },
      onConnection: connection,
    });
  } else if (state) {
    show([]);
  }
}

function show(changed) {
  problem(state.head.problem);
  const now = read();
  if (!now.mesh) {
    showOverview(now);
  } else {
    showMesh(now, changed);
  }
}

function showOverview(now) {
  const filter = (text) => {
    set({ filter: text });
    showOverview(read());
  };
  replace(main, overview(state, now.parameters.filter ?? "", filter));
}

function showMesh(now, changed) {
  const { head, items } = state;
  if (!head.exists) {
    main.replaceChildren(h("p", {}, head.synced ? `There is no mesh ${now.namespace}/${now.mesh} now.` : "Reading…"));
    graph = null;
    return;
  }
  if (!graph) build(now);
  // A line that is written anew is laid out anew, and with it a large graph below.
  const shown = JSON.stringify([head, Math.floor(Date.now() / AGE)]);
  if (shown !== parts.head) replace(parts.title, title(head));
  parts.head = shown;
  parts.actions.element.hidden = !hasActions || now.mesh === "-";
  if (!parts.actions.element.hidden) parts.actions.show(now.namespace, "functionmesh", now.mesh);
  const isTable = now.parameters.show === "table";
  parts.asGraph.setAttribute("aria-pressed", !isTable);
  parts.asTable.setAttribute("aria-pressed", isTable);
  graph.element.hidden = isTable;
  parts.zoom.hidden = isTable;
  replace(parts.table, isTable && componentTable(state, now));
  const selected = now.component ? `${now.kind}/${now.component}` : null;
  graph.draw(state, parts.isNew ? null : changed, selected);
  parts.isNew = false;
  if (selected) panel.open(now, items.get(selected));
  else panel.close();
  changes();
}

function build(now) {
  graph = new GraphView((id) => {
    const [kind, component] = [id.slice(0, id.indexOf("/")), id.slice(id.indexOf("/") + 1)];
    const { parameters } = read();
    location.hash = write({ ...now, kind, component, parameters: { ...parameters, search: "", previous: "" } });
  });
  const button = (text, label, onclick) => h("button", { type: "button", "aria-label": label, onclick }, text);
  const choose = (show) => () => {
    set({ show });
    showAgain();
  };
  parts = {
    isNew: true,
    title: h("div", {}),
    actions: new Actions("mesh", showAgain),
    asGraph: h("button", { type: "button", onclick: choose("") }, "Graph"),
    asTable: h("button", { type: "button", onclick: choose("table") }, "Table"),
    zoom: h("span", {}, button("−", "Smaller", () => graph.scale(0.8)), button("+", "Larger", () => graph.scale(1.25)), button("Fit", "Fit to the window", () => graph.scale(null))),
    table: h("div", {}),
  };
  main.replaceChildren(parts.title, h("p", { class: "tools" }, h("span", {}, parts.asGraph, parts.asTable), parts.zoom), parts.actions.element, graph.element, parts.table);
}

function showAgain() {
  show([]);
}

// Announces changes of the state to screen readers.
function changes() {
  const texts = [];
  for (const [id, item] of state.items) {
    if (item.type !== "component") continue;
    const now = stateOf(item);
    const before = health.get(id);
    if (before !== undefined && before !== now) texts.push(`${item.kind} ${item.label}: ${now}`);
    health.set(id, now);
  }
  if (texts.length > 0) announce(texts.join(". "));
}

function closePanel() {
  const { namespace, mesh, kind, component, parameters } = read();
  const { tab, search, previous, ...kept } = parameters;
  location.hash = write({ namespace, mesh, parameters: kept });
  panel.close();
  graph?.focus(`${kind}/${component}`);
}

addEventListener("hashchange", route);
addEventListener("resize", () => state && graph?.size());
// The anchor is not a route.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

try {
  await start(takeToken());
  route();
  showUser();
} catch (error) {
  connection(error, true);
}
