// Builds elements. Texts become text nodes, so that no name is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// Replaces the content of an element. Who was in a field or at a link stays there.
export function replace(element, children) {
  const active = element.contains(document.activeElement) ? document.activeElement : null;
  const href = active?.getAttribute("href");
  const same = active?.id ? `#${CSS.escape(active.id)}` : href ? `a[href="${CSS.escape(href)}"]` : null;
  const position = active?.selectionStart;
  element.replaceChildren(...[children].flat(Infinity).filter(Boolean));
  const again = same && element.querySelector(same);
  again?.focus({ preventScroll: true });
  if (again && typeof position === "number") again.setSelectionRange(position, position);
}

// Says something to people who do not see the page.
export function announce(text) {
  byId("announcer").textContent = text;
}
