// The panel of a component: what the API server knows of it, read anew while it is open.

import { h, replace } from "./dom.js";
import { Actions } from "./actions.js";
import { SIGN, UNKNOWN, WORD, ago, count, duration, rate } from "./format.js";
import { get } from "./client.js";
import { stateOf } from "./graph.js";
import { set } from "./route.js";

const TABS = { status: "Status", pods: "Pods", events: "Events", logs: "Logs", exceptions: "Exceptions", charts: "Charts", yaml: "YAML" };
const AGAIN = 5000;
// How often ages are written anew.
const AGE = 30000;

export class Panel {
  constructor(element, onClose) {
    this.element = element;
    this.onClose = onClose;
    this.actions = new Actions("component", () => this.load());
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.onClose();
    });
  }

  get path() {
    const { namespace, kind, component } = this.route;
    return `/api/v1/components/${[namespace, kind, component].map(encodeURIComponent).join("/")}`;
  }

  // The template of links to a dashboard, of which the server accepts only http and https; and whether there are actions.
  use(template, hasActions) {
    const isSame = this.dashboard === template && this.hasActions === hasActions;
    this.dashboard = template;
    this.hasActions = hasActions;
    if (this.route && !isSame) this.build();
  }

  link() {
    if (!this.dashboard) return null;
    const { namespace, kind, component } = this.route;
    const values = { namespace, kind, name: component };
    const href = this.dashboard.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(values[name] ?? ""));
    return h("a", { href, target: "_blank", rel: "noopener noreferrer" }, "Dashboard");
  }

  open(route, item) {
    const isOther = !this.route || ["namespace", "kind", "component"].some((part) => this.route[part] !== route[part]);
    this.route = route;
    this.tab = route.parameters.tab in TABS ? route.parameters.tab : "status";
    this.item = item;
    this.element.hidden = false;
    if (isOther) {
      this.detail = null;
      this.problem = null;
      this.logs = null;
      this.history = null;
      this.exceptions = null;
      this.shown = null;
      this.build();
      this.load();
      this.heading.focus();
    } else {
      this.show();
    }
  }

  close() {
    clearTimeout(this.timer);
    this.abort?.abort();
    this.route = null;
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  async load() {
    clearTimeout(this.timer);
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.offer();
    try {
      if (this.tab === "logs") {
        const query = new URLSearchParams({ search: this.route.parameters.search ?? "", previous: this.route.parameters.previous === "true" });
        this.logs = await get(`${this.path}/logs?${query}`, abort.signal);
      } else if (this.tab === "exceptions") {
        this.exceptions = await get(`${this.path}/exceptions`, abort.signal);
      } else if (this.tab === "charts") {
        // Loaded only when charts are asked for.
        this.charts ??= await import("./charts.js");
        this.history = await get(`${this.path}/history`, abort.signal);
      } else {
        this.detail = await get(this.path, abort.signal);
      }
      this.problem = null;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.problem = error.message;
    }
    if (!this.route) return;
    this.show();
    this.timer = setTimeout(() => this.load(), AGAIN);
  }

  offer() {
    const { namespace, kind, component } = this.route;
    if (this.hasActions) this.actions.show(namespace, kind, component);
  }

  build() {
    const { kind, component } = this.route;
    this.shown = null;
    this.heading = h("h2", { tabindex: "-1" }, component);
    const tabs = Object.entries(TABS).map(([id, text]) =>
      h("button", { role: "tab", id: `tab-${id}`, "aria-controls": "tab", onclick: () => this.choose(id), onkeydown: (event) => this.key(event) }, text),
    );
    this.tabs = h("div", { role: "tablist", "aria-label": "Parts" }, tabs);
    this.body = h("div", { role: "tabpanel", id: "tab", tabindex: "0" });
    const close = h("button", { class: "close", "aria-label": "Close", onclick: () => this.onClose() }, "×");
    this.element.replaceChildren(h("div", { class: "title" }, h("div", {}, h("small", {}, kind), this.heading), h("span", {}, this.link(), close)), ...(this.hasActions ? [this.actions.element] : []), this.tabs, this.body);
    this.offer();
    this.show();
  }

  choose(tab) {
    this.tab = tab;
    this.route.parameters.tab = tab;
    set({ tab });
    this.show();
    this.load();
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const ids = Object.keys(TABS);
    this.choose(ids[(ids.indexOf(this.tab) + step + ids.length) % ids.length]);
    this.tabs.querySelector("[aria-selected=true]").focus();
  }

  show() {
    for (const tab of this.tabs.children) {
      const isChosen = tab.id === `tab-${this.tab}`;
      tab.setAttribute("aria-selected", isChosen);
      tab.setAttribute("tabindex", isChosen ? 0 : -1);
    }
    this.body.setAttribute("aria-labelledby", `tab-${this.tab}`);
    // Text that the user selects stays until something changes.
    const shown = JSON.stringify([this.tab, { logs: this.logs, charts: this.history, exceptions: this.exceptions }[this.tab] ?? this.detail, this.tab === "status" && this.item, this.problem, Math.floor(Date.now() / AGE)]);
    if (shown === this.shown) return;
    this.shown = shown;
    if (this.tab === "logs") {
      this.showLogs();
      return;
    }
    if (this.tab === "charts") {
      this.showCharts();
      return;
    }
    const found = this.tab === "exceptions" ? this.exceptions : this.detail;
    const parts = PARTS[this.tab](found ?? {}, this.item);
    const waiting = !found && !this.problem && h("p", {}, "Reading…");
    const problem = this.problem && h("p", { class: "problem" }, this.problem);
    const open = new Set([...this.body.querySelectorAll("details[open] strong")].map((it) => it.textContent));
    replace(this.body, [problem, waiting, parts]);
    for (const it of this.body.querySelectorAll("details")) it.open = open.has(it.querySelector("strong").textContent);
  }

  showCharts() {
    const { history, problem } = this;
    replace(this.body, [problem && h("p", { class: "problem" }, problem), !history && !problem && h("p", {}, "Reading…"), h("div", { class: "charts" })]);
    if (history) this.charts.draw(this.body.querySelector(".charts"), history);
  }

  showLogs() {
    let form = this.body.querySelector("form");
    if (!form) {
      const { search = "", previous } = this.route.parameters;
      const change = () => {
        const wanted = { search: form.elements.search.value, previous: form.elements.previous.checked ? "true" : "" };
        Object.assign(this.route.parameters, wanted);
        set(wanted);
        this.load();
      };
      form = h(
        "form",
        { class: "tools", onsubmit: (event) => event.preventDefault() },
        h("label", {}, "Search ", h("input", { type: "search", name: "search", value: search, oninput: change })),
        h("label", {}, h("input", { type: "checkbox", name: "previous", checked: previous === "true", onchange: change }), " before the last restart"),
      );
      replace(this.body, [form, h("div", { class: "lines" })]);
    }
    const lines = this.body.querySelector(".lines");
    const isAtEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
    const { logs, problem } = this;
    replace(
      lines,
      [
        problem && h("p", { class: "problem" }, problem),
        logs?.problems.map(({ pod, message }) => h("p", { class: "problem" }, `${pod}: ${message}`)),
        logs?.isCut && h("p", { class: "note" }, "There are older lines that are not shown."),
        logs && logs.lines.length === 0 && h("p", {}, "No lines."),
        logs?.lines.map(({ time, pod, text }) => h("p", { class: "line" }, h("span", { class: "time" }, time.slice(11, 23)), h("span", { class: "pod" }, pod.replace(/^.*-/, "")), text)),
      ],
    );
    if (isAtEnd) lines.scrollTop = lines.scrollHeight;
  }
}

function list(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", {}, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function flat(object) {
  return Object.entries(object ?? {}).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)]);
}

function rolloutList({ state, reason, message, generation, failedRevision, goodRevision, since, recreate }) {
  const gap = recreate?.gapSeconds;
  return list([
    ["State", [state, since && ` for ${ago(since)}`]],
    ["Reason", reason],
    ["Message", message],
    ["Generation", generation],
    ["Failed revision", failedRevision],
    ["Good revision", goodRevision],
    ["Step of Recreate", recreate && [recreate.step, recreate.since && ` for ${ago(recreate.since)}`]],
    ["Waits for", recreate?.message],
    ["Time without a pod", gap === undefined || gap === null ? null : `${+gap.toFixed(1)}s`],
  ]);
}

const PARTS = {
  status({ conditions, message, pendingChange, scaling, rollout, traffic }, item) {
    return [
      item &&
        list([
          ["Health", h("span", { class: `health ${item.health}` }, `${SIGN[item.health]} ${WORD[item.health]}`)],
          ["State", stateOf(item)],
          ["Pods ready", item.pods ? `${item.pods.ready} of ${item.pods.wanted}` : UNKNOWN],
          ["In", rate(item.inRate)],
          ["Processed", rate(item.outRate)],
          ["Backlog", count(item.backlog)],
          ["Lag", duration(item.lagSeconds)],
          ["Exceptions in ten minutes", count(item.exceptions)],
          ["Cause", item.reason],
        ]),
      message && !item?.reason?.includes(message) && h("p", { class: "message" }, message),
      traffic?.message && h("p", { class: "message" }, traffic.message),
      pendingChange && [h("h3", {}, "Deferred change"), h("pre", {}, pendingChange)],
      rollout && [h("h3", {}, "Rollout"), rolloutList(rollout)],
      scaling && [h("h3", {}, "Scaling"), list(flat(scaling))],
      conditions?.length > 0 && [
        h("h3", {}, "Conditions"),
        h(
          "ul",
          { class: "conditions" },
          conditions.map((it) =>
            h("li", {}, h("strong", {}, `${it.type}: ${it.status}`), ` ${it.reason} · ${ago(it.lastTransitionTime)} ago`, h("br"), it.message),
          ),
        ),
      ],
    ];
  },

  pods({ pods, podsProblem }) {
    if (podsProblem) return h("p", { class: "problem" }, podsProblem);
    if (!pods) return [];
    if (pods.length === 0) return h("p", {}, "No pods.");
    const heads = ["Pod", "Phase", "Ready", "Restarts", "Age", "Node"];
    const line = (pod) => [
      h("tr", {}, [pod.name, pod.phase ?? UNKNOWN, pod.ready ? "yes" : "no", pod.restarts, ago(pod.started), pod.node ?? UNKNOWN].map((text) => h("td", {}, String(text)))),
      pod.reason && h("tr", {}, h("td", { colspan: heads.length, class: "cause" }, pod.reason)),
    ];
    return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, pods.map(line))));
  },

  events({ events, eventsProblem }) {
    if (eventsProblem) return h("p", { class: "problem" }, eventsProblem);
    if (!events) return [];
    if (events.length === 0) return h("p", {}, "No Events of the last hour.");
    return h(
      "ul",
      { class: "conditions" },
      events.map((it) =>
        h("li", { class: it.kind }, h("strong", {}, it.reason ?? ""), ` ${it.object} · ${ago(it.last)} ago${it.count > 1 ? ` · ${it.count} times` : ""}`, h("br"), it.message ?? ""),
      ),
    );
  },

  exceptions({ exceptions, isCut, problems }) {
    if (!exceptions) return [];
    return [
      problems.map(({ pod, message }) => h("p", { class: "problem" }, `${pod}: ${message}`)),
      isCut && h("p", { class: "note" }, "There are more pods, whose logs were not read."),
      exceptions.length === 0 && h("p", {}, "No exceptions in the last lines of the logs."),
      exceptions.map(({ title, count: number, time, pod, lines }) =>
        h("details", {}, h("summary", {}, h("strong", {}, title), ` ${pod} · ${ago(time)} ago${number > 1 ? ` · ${number} times` : ""}`), h("pre", {}, lines.join("\n"))),
      ),
    ];
  },

  yaml({ yaml }) {
    return yaml ? h("pre", {}, yaml) : [];
  },
};
