// The state of the page as the fragment of its URL:
// #/                                              all meshes
// #/shop/orders?show=table                        one mesh
// #/shop/orders/function/orders-clean?tab=logs    a component of it

export function read() {
  const [path, query] = location.hash.replace(/^#/, "").split("?", 2);
  const parts = path.split("/").slice(1).map(decode).filter((part) => part !== "");
  const parameters = Object.fromEntries(new URLSearchParams(query ?? ""));
  const [namespace, mesh, kind, component] = parts;
  return { namespace, mesh, kind, component, parameters };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function write({ namespace, mesh, kind, component, parameters = {} }) {
  const parts = [namespace, mesh, kind, component];
  const end = parts.findIndex((part) => part === undefined);
  const path = parts.slice(0, end < 0 ? 4 : end).map(encodeURIComponent).join("/");
  const kept = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined);
  const query = new URLSearchParams(kept).toString();
  return `#/${path}${query ? `?${query}` : ""}`;
}

// Changes parameters of the URL without a new entry in the history.
export function set(parameters) {
  const route = read();
  history.replaceState(null, "", write({ ...route, parameters: { ...route.parameters, ...parameters } }));
}

// Removes the one-time token from the URL, and returns it.
export function takeToken() {
  const route = read();
  const { token, ...parameters } = route.parameters;
  if (token) history.replaceState(null, "", write({ ...route, parameters }));
  return token;
}
