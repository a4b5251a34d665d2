// The review: one question at a time, answered by a key, undone by another.

import { blobOf, element, get, remove, restore, send, sendJson, showImage } from "./server.js";
import { attempt, done } from "./messages.js";
import { labelText } from "./gallery.js";

const KEYS = { s: "same", d: "different", n: "not sure", w: "wrong label", x: "delete" };
const REASONS = {
  "other label": "They match, and their labels differ.",
  "no label": "They match, and one of them has no label.",
  duplicate: "They are nearly the same image: likely copies.",
  "near threshold": "Their distance is close to the threshold.",
};
const shown = document.querySelector("#pair");
const naming = document.querySelector("#naming");
const nameInput = document.querySelector("#right-label");
let queue = [];
let answered = [];
let following = 0;
let chosen = 0;
let busy = false;
let unknownsAsked = false;

export async function showReview() {
  naming.hidden = true;
  chosen = 0;
  if (!unknownsAsked) {
    unknownsAsked = true;
    queue.push(...(await unknowns()));
  }
  while (!queue.length && following !== null) {
    if (document.querySelector("#review").hidden) return; // it goes on when the view is shown again
    if (following) shown.replaceChildren(element("p", { class: "soft" }, `looking for pairs, after image ${following.toLocaleString("en")} ...`));
    const page = await get(`/review?after=${following}`);
    const before = new Set(answered.map(({ item }) => keyOf(item)));
    queue = page.items.filter((item) => !before.has(keyOf(item)));
    following = page.next;
  }
  show();
}

// A server that remembers none has none to show.
async function unknowns() {
  try {
    return (await get("/unknowns")).unknowns.map((one) => ({ unknown: one }));
  } catch {
    return [];
  }
}

function show() {
  const item = queue[0];
  for (const button of document.querySelectorAll("#answers button")) {
    const { answer: text } = button.dataset;
    button.disabled = text ? !item : !answered.length;
    button.hidden = Boolean(text && item?.unknown && ["same", "different"].includes(text));
  }
  document.querySelector("#review-count").textContent = `${answered.length} answered in this tab.`;
  if (!item) {
    shown.replaceChildren(element("p", {}, "Nothing is left to review."));
    return;
  }
  if (item.unknown) {
    const { id, searches } = item.unknown;
    const image = element("img", { alt: "The unknown" });
    showImage(image, `/unknowns/${id}/image`);
    const text = `${searches} searches were for this, and nothing in the gallery matches. W gives it a name, X dismisses it.`;
    shown.replaceChildren(element("div", { class: "tile" }, image), element("p", {}, text));
    return;
  }
  const sides = [item.first, item.second].map(side);
  const about = `${REASONS[item.reason]} Distance ${item.distance.toFixed(3)}. Wrong label and delete are said of the marked image; the arrow keys mark the other.`;
  shown.replaceChildren(...sides, element("p", {}, about));
  mark();
}

function side(one, place) {
  const image = element("img", { alt: `Image ${one.id}` });
  showImage(image, `/gallery/${one.id}/image`);
  const button = element("button", { type: "button", class: "choose", "aria-pressed": "false" }, labelText(one.label));
  button.addEventListener("click", () => choose(place));
  return element("div", { class: "tile" }, image, button);
}

function choose(place) {
  chosen = place;
  mark();
}

function mark() {
  for (const [place, tile] of [...shown.querySelectorAll(".tile")].entries()) {
    tile.classList.toggle("chosen", place === chosen);
    tile.querySelector("button").setAttribute("aria-pressed", String(place === chosen));
  }
}

function keyOf(item) {
  return item.unknown ? `unknown ${item.unknown.id}` : [item.first.id, item.second.id].sort((one, other) => one - other).join(" ");
}

async function answer(text, label = "") {
  if (busy || !queue.length) return;
  busy = true;
  try {
    const item = queue[0];
    const undo = item.unknown ? await answerUnknown(item.unknown, text, label) : await answerPair(item, text, label);
    answered.push({ item, undo });
    queue.shift();
    done(label ? `Recorded: ${text}, it is ${labelText(label)}.` : `Recorded: ${text}.`);
    await showReview();
  } finally {
    busy = false;
  }
}

async function answerPair(item, text, label) {
  const [first, second] = chosen ? [item.second, item.first] : [item.first, item.second];
  const given = { first: first.id, second: second.id, distance: item.distance, answer: text, new_label: label };
  await sendJson("/corrections", given, "POST");
  return async () => (await remove("/corrections/last")).undone;
}

async function answerUnknown(one, text, label) {
  if (text === "not sure") return async () => text;
  const added = text === "wrong label" ? await send("/gallery", { image: await blobOf(`/unknowns/${one.id}/image`), label }) : null;
  await remove(`/unknowns/${one.id}`);
  return async () => {
    if (added) await remove(`/gallery/${added.id}`);
    await restore(`/unknowns/${one.id}`);
    return text;
  };
}

async function undo() {
  if (busy || !answered.length) return;
  busy = true;
  try {
    const last = answered.at(-1);
    const undone = await last.undo();
    answered.pop();
    queue.unshift(last.item);
    done(`Taken back: ${undone}.`);
    await showReview();
  } finally {
    busy = false;
  }
}

function askForName() {
  const item = queue[0];
  if (!item) return;
  const other = item.unknown ? null : (chosen ? item.first : item.second).label;
  nameInput.value = other !== null && other !== (chosen ? item.second : item.first)?.label ? other : "";
  nameInput.required = Boolean(item.unknown);
  naming.hidden = false;
  nameInput.focus();
  nameInput.select();
}

function begin(text) {
  if (text === "wrong label") askForName();
  else attempt(() => answer(text));
}

export function startReview() {
  const buttons = Object.entries(KEYS).map(([key, text]) => {
    const label = text[0].toUpperCase() + text.slice(1);
    const button = element("button", { type: "button", "data-answer": text, "aria-keyshortcuts": key }, `${label} (${key.toUpperCase()})`);
    button.addEventListener("click", () => begin(text));
    return button;
  });
  const back = element("button", { type: "button", "aria-keyshortcuts": "u" }, "Undo (U)");
  back.addEventListener("click", () => attempt(undo));
  document.querySelector("#answers").append(...buttons, back);
  naming.addEventListener("submit", (event) => {
    event.preventDefault();
    nameInput.blur();
    attempt(() => answer("wrong label", nameInput.value));
  });
  nameInput.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    nameInput.blur(); // else the next key is still the field's
    naming.hidden = true;
  });
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("#review").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) return;
    const key = event.key.toLowerCase();
    if (key === "u") attempt(undo);
    else if (key in KEYS) {
      event.preventDefault();
      begin(KEYS[key]);
    } else if (["arrowleft", "arrowright"].includes(key) && queue.length && !queue[0].unknown) choose(key === "arrowleft" ? 0 : 1);
  });
}
