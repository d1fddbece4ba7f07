// Requests with the token of the session, or with that of the user. It is in the memory of this tab and sent in a header: there
// is no cookie.

const KEY = "function-mesh-session";
const channel = "BroadcastChannel" in self ? new BroadcastChannel(KEY) : null;

export class Failure extends Error {
  constructor(status, message, needsToken) {
    super(message);
    this.status = status;
    this.needsToken = needsToken;
  }
}

function session() {
  return sessionStorage.getItem(KEY);
}

// Exchanges a one-time token; a tab without one asks the other tabs of this console.
export async function start(oneTime) {
  if (channel) {
    channel.onmessage = ({ data }) => {
      if (data === "ask" && session()) channel.postMessage({ token: session() });
      if (data?.token && !session()) sessionStorage.setItem(KEY, data.token);
    };
  }
  if (oneTime) {
    const response = await fetch("/api/v1/session", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token: oneTime }),
    });
    if (response.ok) sessionStorage.setItem(KEY, (await response.json()).token);
    else if (!session()) throw await failure(response);
  }
  if (!session() && channel) {
    channel.postMessage("ask");
    await new Promise((done) => setTimeout(done, 300));
  }
}

async function failure(response) {
  const answer = await response.json().catch(() => ({}));
  const needsToken = response.status === 401 && response.headers.has("www-authenticate");
  return new Failure(response.status, answer.message ?? `the console answers ${response.status}`, needsToken);
}

// Signs in with a bearer token; null signs out.
export function useToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

export function hasToken() {
  return session() !== null;
}

// Without a token there is no header: a proxy may add one.
function request(path, headers, signal) {
  const own = session() ? { authorization: `Bearer ${session()}` } : {};
  return fetch(path, { headers: { ...own, ...headers }, signal, cache: "no-store" });
}

export async function get(path, signal) {
  const response = await request(path, {}, signal);
  if (!response.ok) throw await failure(response);
  return response.json();
}

// Asks for a write. The header can be set only by a script of this page.
export async function post(path, body) {
  const own = { authorization: `Bearer ${session()}`, "content-type": "application/json", "x-function-mesh-action": "1" };
  const response = await fetch(path, { method: "POST", headers: own, body: JSON.stringify(body), cache: "no-store" });
  if (!response.ok) throw await failure(response);
  return response.json();
}

// Follows events: a snapshot, then deltas. After a break it resumes with the ID of the last event. EventSource cannot send
// headers. Returns a function that ends it.
export function follow(path, { onState, onConnection }) {
  let controller;
  let ended = false;
  let last = null;
  let wait = 500;
  const state = { head: {}, items: new Map() };

  async function run() {
    while (!ended) {
      // A hidden tab needs no events, and browsers allow few connections to one server.
      if (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
      if (ended) return;
      controller = new AbortController();
      try {
        const response = await request(path, last ? { "last-event-id": last } : {}, controller.signal);
        if (!response.ok) throw await failure(response);
        onConnection(null);
        wait = 500;
        for await (const event of events(response.body)) {
          last = event.id;
          onState(state, apply(state, event));
        }
      } catch (error) {
        if (ended) return;
        if (error instanceof Failure && error.status < 500) {
          onConnection(error, true);
          return;
        }
        if (!document.hidden) onConnection(error, false);
      }
      await new Promise((done) => setTimeout(done, wait));
      wait = Math.min(wait * 2, 10000);
    }
  }

  function hide() {
    if (document.hidden) controller?.abort();
  }
  document.addEventListener("visibilitychange", hide);
  run();
  return () => {
    ended = true;
    document.removeEventListener("visibilitychange", hide);
    controller?.abort();
  };
}

// The IDs of items that changed; null for all.
function apply(state, { name, data }) {
  if (name === "snapshot") {
    state.head = data.head;
    state.items = new Map(Object.entries(data.items));
    return null;
  }
  if (data.head) state.head = data.head;
  for (const [id, item] of Object.entries(data.items)) {
    if (item === null) state.items.delete(id);
    else state.items.set(id, item);
  }
  return Object.keys(data.items);
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
      if (fields.data) yield { id: fields.id, name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}
