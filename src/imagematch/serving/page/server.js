// Calls to the server, with its token where it has one.

const KEY = "imagematch-token";

export class ServerError extends Error {}

let askForToken = () => Promise.reject(new ServerError("needs a token"));

export function onTokenNeeded(ask) {
  askForToken = ask;
}

export function rememberToken(token) {
  sessionStorage.setItem(KEY, token);
}

async function answer(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch {
      throw new ServerError("The server does not answer. Is it still running?");
    }
    if (response.ok) return response;
    if (response.status === 401) {
      await askForToken();
      continue;
    }
    const body = await response.json().catch(() => ({}));
    throw new ServerError(body.error ?? `The server answered ${response.status}.`);
  }
}

export async function get(path) {
  return (await answer(path)).json();
}

export async function send(path, fields, method = "POST") {
  const form = new FormData();
  for (const [name, values] of Object.entries(fields)) {
    for (const value of [values].flat()) if (value !== null && value !== "") form.append(name, value);
  }
  return (await answer(path, { method, body: form })).json();
}

export async function sendJson(path, value, method) {
  const headers = { "Content-Type": "application/json" };
  return (await answer(path, { method, headers, body: JSON.stringify(value) })).json();
}

export async function remove(path) {
  return (await answer(path, { method: "DELETE" })).json();
}

export async function restore(path) {
  return (await answer(path, { method: "PUT" })).json();
}

export async function blobOf(path) {
  return (await answer(path)).blob();
}

// An <img> sends no token, so images are fetched and shown as blobs.
export async function showImage(image, path) {
  try {
    image.src = URL.createObjectURL(await blobOf(path));
    image.onload = () => URL.revokeObjectURL(image.src);
  } catch {
    image.replaceWith(element("div", { class: "blank" }));
  }
}

// Text is only ever set as text: names of labels may hold anything.
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Control and bidirectional characters would change the text around them.
export function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
}
