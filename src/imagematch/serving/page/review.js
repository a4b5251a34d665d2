// The review: one pair at a time, answered by a key, undone by another.

import { element, get, remove, sendJson, showImage } from "./server.js";
import { attempt, done } from "./messages.js";
import { labelText } from "./gallery.js";

const KEYS = { s: "same", d: "different", n: "not sure", w: "wrong label", x: "delete" };
const REASONS = {
  "other label": "They match, and their labels differ.",
  "no label": "They match, and one of them has no label.",
  "near threshold": "Their distance is close to the threshold.",
};
const pair = document.querySelector("#pair");
let queue = [];
let answered = [];
let following = 0;
let busy = false;

export async function showReview() {
  while (!queue.length && following !== null) {
    const page = await get(`/review?after=${following}`);
    const before = new Set(answered.map(keyOf));
    queue = page.items.filter((item) => !before.has(keyOf(item)));
    following = page.next;
  }
  for (const button of document.querySelectorAll("#answers button")) {
    button.disabled = button.dataset.answer ? !queue.length : !answered.length;
  }
  document.querySelector("#review-count").textContent = `${answered.length} answered in this tab.`;
  if (!queue.length) {
    pair.replaceChildren(element("p", {}, "Nothing is left to review."));
    return;
  }
  const item = queue[0];
  pair.replaceChildren(side(item.first), side(item.second), element("p", {}, `${REASONS[item.reason]} Distance ${item.distance.toFixed(3)}.`));
}

function keyOf(item) {
  return [item.first.id, item.second.id].sort((one, other) => one - other).join(" ");
}

function side(one) {
  const image = element("img", { alt: `Image ${one.id}` });
  showImage(image, one.id);
  return element("div", { class: "tile" }, image, element("div", { class: "name" }, labelText(one.label)));
}

async function answer(text) {
  if (busy || !queue.length) return;
  busy = true;
  try {
    const item = queue[0];
    await sendJson("/corrections", { first: item.first.id, second: item.second.id, distance: item.distance, answer: text }, "POST");
    answered.push(queue.shift());
    done(`Recorded: ${text}.`);
    await showReview();
  } finally {
    busy = false;
  }
}

async function undo() {
  if (busy || !answered.length) return;
  busy = true;
  try {
    const { undone } = await remove("/corrections/last");
    queue.unshift(answered.pop());
    done(`Taken back: ${undone}.`);
    await showReview();
  } finally {
    busy = false;
  }
}

export function startReview() {
  const buttons = Object.entries(KEYS).map(([key, text]) => {
    const label = text[0].toUpperCase() + text.slice(1);
    const button = element("button", { type: "button", "data-answer": text, "aria-keyshortcuts": key }, `${label} (${key.toUpperCase()})`);
    button.addEventListener("click", () => attempt(() => answer(text)));
    return button;
  });
  const back = element("button", { type: "button", "aria-keyshortcuts": "u" }, "Undo (U)");
  back.addEventListener("click", () => attempt(undo));
  document.querySelector("#answers").append(...buttons, back);
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("#review").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) return;
    const key = event.key.toLowerCase();
    if (key === "u") attempt(undo);
    else if (key in KEYS) attempt(() => answer(KEYS[key]));
  });
}
