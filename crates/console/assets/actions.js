// What can be done to a component or a mesh: buttons, and the dialog that shows the command before it runs. Only the console of
// one person has them.

import { announce, h } from "./dom.js";
import { get, post } from "./client.js";

const SOON = 5000;

export class Actions {
  // Calls onDone after an action. The ID distinguishes the texts of this group from those of others.
  constructor(id, onDone) {
    this.id = id;
    this.onDone = onDone;
    this.buttons = h("div", { role: "group", "aria-label": "Actions" });
    this.reasons = h("ul", { class: "note" });
    this.result = h("p", { role: "status", class: "result" });
    this.element = h("div", { class: "actions" }, this.buttons, this.reasons, this.result);
  }

  // Shows what can be done to an object, and looks again after a while.
  show(namespace, kind, name) {
    const path = `/api/v1/actions/${[namespace, kind, name].map(encodeURIComponent).join("/")}`;
    if (path !== this.path) {
      this.path = path;
      this.shown = null;
      this.since = 0;
      this.buttons.replaceChildren();
      this.reasons.replaceChildren();
      this.result.textContent = "";
    }
    if (Date.now() - this.since >= SOON) return this.load();
    return undefined;
  }

  async load() {
    const { path } = this;
    this.since = Date.now();
    const found = await get(path).catch((error) => ({ problem: error.message, offers: [] }));
    // Another object was chosen meanwhile.
    if (path !== this.path) return;
    this.found = found;
    // The time of a restart is always another.
    const shown = JSON.stringify([found.problem, found.offers.map(({ label, reason }) => [label, reason])]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.draw();
  }

  draw() {
    const { found } = this;
    const focused = this.buttons.contains(document.activeElement) ? document.activeElement.id : null;
    const reasons = [...new Set([found.problem, ...found.offers.map(({ reason }) => reason)].filter(Boolean))];
    const idOf = (reason) => `${this.id}-reason-${reasons.indexOf(reason)}`;
    this.buttons.replaceChildren(...found.offers.map(({ label, reason }, place) => {
      const id = `${this.id}-${label.toLowerCase().replaceAll(" ", "-")}`;
      // A disabled button could not be reached by the keyboard, and so not say why.
      const off = reason ? { "aria-disabled": "true", "aria-describedby": idOf(reason), title: reason } : {};
      return h("button", { type: "button", id, onclick: () => this.choose(place, id), ...off }, label);
    }));
    this.reasons.replaceChildren(...reasons.map((reason) => h("li", { id: idOf(reason) }, reason)));
    if (focused) (document.getElementById(focused) ?? this.buttons.firstElementChild)?.focus();
  }

  choose(place, id) {
    const offer = this.found.offers[place];
    if (offer.reason) {
      announce(offer.reason);
      return;
    }
    this.ask(offer, this.found.version, id);
  }

  // The dialog: what is done, to what, and the command that does the same.
  ask({ label, text, command, act }, version, id) {
    const [path, order] = [this.path, { ...act }];
    const code = h("code", {}, command);
    const problem = h("p", { role: "alert", class: "problem" });
    const run = h("button", { type: "button", class: "run" }, label);
    const cancel = h("button", { type: "button", class: "cancel", onclick: () => dialog.close() }, "Cancel");
    const change = (event) => {
      order.replicas = event.target.valueAsNumber;
      code.textContent = command.replace(/--replicas=-?\d+$/, `--replicas=${Number.isInteger(order.replicas) ? order.replicas : "?"}`);
      run.disabled = !Number.isInteger(order.replicas);
    };
    const number = act.action === "scale" && h("label", {}, "Pods ", h("input", { type: "number", name: "replicas", min: 0, step: 1, value: act.replicas, oninput: change }));
    run.addEventListener("click", async () => {
      run.disabled = true;
      problem.textContent = "";
      try {
        const { written } = await post(path, { version, act: order });
        dialog.close();
        this.result.textContent = written.join("; ");
        this.onDone();
      } catch (error) {
        problem.textContent = error.message;
        cancel.textContent = "Close";
        cancel.focus();
        // What has changed must be looked at before it is tried again.
        run.disabled = error.status === 409;
      }
      if (path === this.path) this.load();
    });
    const dialog = h(
      "dialog",
      { "aria-labelledby": "act-title", "aria-describedby": "act-text", onclose: () => this.leave(dialog, id) },
      h("h2", { id: "act-title" }, `${label}: ${decodeURIComponent(path.split("/").slice(-2).join("/"))}`),
      h("p", { id: "act-text" }, text),
      number,
      h("p", {}, "This does the same as:"),
      h("pre", {}, code),
      problem,
      h("p", { class: "choices" }, cancel, run),
    );
    document.body.append(dialog);
    dialog.showModal();
    cancel.focus();
  }

  leave(dialog, id) {
    dialog.remove();
    document.getElementById(id)?.focus();
  }
}
