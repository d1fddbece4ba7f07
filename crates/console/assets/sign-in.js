// The form for the bearer token, where the console asks for one.

import { h } from "./dom.js";

// The form with the reason why it is there. The token is a field of a password, so that it is not shown, and no password manager
// is asked to keep it.
export function signIn(reason, onToken) {
  const submit = (event) => {
    event.preventDefault();
    const token = event.target.elements.token.value.trim();
    if (token) onToken(token);
  };
  const field = h("input", { type: "password", id: "token", name: "token", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "token-help" });
  return h(
    "form",
    { class: "sign-in", onsubmit: submit },
    h("h1", {}, "Sign in"),
    h("p", { role: "status" }, reason),
    h("label", { for: "token" }, "Token"),
    field,
    h("button", { type: "submit" }, "Sign in"),
    h("p", { id: "token-help", class: "note" }, "A bearer token that the API server accepts, such as one of a ServiceAccount: ", h("code", {}, "kubectl create token NAME"), ". This tab keeps it until it is closed, and sends it to this console only."),
  );
}
