// The page: which view is shown, searching, comparing, and what the model says of itself.

import { element, get, onTokenNeeded, rememberToken, send, showImage, visible } from "./server.js";
import { attempt, done } from "./messages.js";
import { imageChoice } from "./images.js";
import { labelText, refreshLabels, showPage, startGallery } from "./gallery.js";
import { showReview, startReview } from "./review.js";
import { onThreshold, percent, startThreshold, threshold } from "./threshold.js";

const views = [...document.querySelectorAll(".view")];
const found = document.querySelector("#search-found");
const compared = document.querySelector("#compared");
let model = null;
let query = null;
let hits = null;
let pair = [null, null];
let match = null;

function askForToken() {
  const form = document.querySelector("#token-form");
  form.hidden = false;
  document.querySelector("#token").focus();
  return new Promise((given) => {
    form.addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        rememberToken(document.querySelector("#token").value);
        form.hidden = true;
        given();
      },
      { once: true },
    );
  });
}

function showView() {
  const name = location.hash.slice(1) || "search";
  const shown = views.find((view) => view.id === name) ?? views[0];
  for (const view of views) view.hidden = view !== shown;
  document.querySelector("#threshold-panel").hidden = !["search", "compare"].includes(shown.id);
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.hash === `#${shown.id}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown.id === "review" && model) attempt(showReview);
  if (shown.id === "gallery" && model) attempt(() => Promise.all([showPage(), refreshLabels()]));
}

async function search(image) {
  query = image;
  hits = null;
  found.replaceChildren(element("p", { class: "soft" }, "searching ..."));
  try {
    hits = (await send("/search", { image, k: "12" })).hits;
  } finally {
    showHits();
  }
}

// The hits do not depend on the threshold, so that moving it decides anew without asking the server.
function showHits() {
  document.querySelector("#enrol").hidden = hits === null;
  if (hits === null) {
    found.replaceChildren();
    return;
  }
  const matching = hits.filter((hit) => hit.distance < threshold());
  const names = [...new Set(matching.map((hit) => labelText(hit.label)))].join(", ");
  const verdict = matching.length
    ? element("p", { class: "verdict right" }, `Match: ${names}`)
    : element("p", { class: "verdict wrong" }, hits.length ? "Unknown: nothing in the gallery matches" : "The gallery is empty");
  const list = element("ul", { class: "tiles" }, ...hits.map(hitTile));
  found.replaceChildren(verdict, list);
}

const images = new Map();

function hitTile(hit) {
  if (!images.has(hit.id)) {
    const image = element("img", { alt: `Image ${hit.id} of the gallery` });
    showImage(image, `/gallery/${hit.id}/image`);
    images.set(hit.id, image);
  }
  const matches = hit.distance < threshold();
  return element(
    "li",
    { class: matches ? "tile match" : "tile" },
    images.get(hit.id),
    element("div", { class: "name" }, labelText(hit.label)),
    element("div", { class: matches ? "right" : "wrong" }, matches ? "match" : "no match"),
    element("div", { class: "soft" }, numbers(hit)),
  );
}

function numbers(one) {
  const sure = one.probability === null ? "" : `, probability ${one.probability.toFixed(3)}`;
  return `distance ${one.distance.toFixed(3)}${sure}`;
}

async function compare() {
  match = null;
  compared.replaceChildren();
  if (pair.some((image) => image === null)) return;
  match = await send("/match", { first: pair[0], second: pair[1] });
  showMatch();
}

function showMatch() {
  if (match === null) return;
  const matches = match.distance < threshold();
  const { rates } = model.card.threshold;
  const why = rates
    ? `The threshold was chosen on ${rates.genuine_pairs.toLocaleString("en")} pairs of the same and ` +
      `${rates.impostor_pairs.toLocaleString("en")} pairs of different things, from ${rates.images.toLocaleString("en")} images of ` +
      `${rates.classes.toLocaleString("en")} classes; these images were not trained on. ${visible(rates.note)}`
    : "The matcher's folder does not say on how many pairs its threshold was chosen.";
  compared.replaceChildren(
    element("p", { class: matches ? "verdict right" : "verdict wrong" }, matches ? "Match" : "No match"),
    element("p", {}, `${numbers(match)}, threshold ${threshold().toFixed(2)}`),
    element("p", { class: "soft" }, why),
  );
}

function showCard() {
  const { card } = model;
  const rows = [
    ["name", visible(model.name)],
    ["trained on", visible(card.provenance.dataset ?? "unknown")],
    ["network", card.embedding.extractors.map((one) => visible(one.name)).join(" + ")],
    ["embedding", `${card.embedding.head.embedding_dim} values`],
    ["threshold", `${model.decision.threshold.toFixed(4)}, chosen on ${card.threshold.chosen_on}`],
    ["imagematch", visible(model.version)],
    ["folder", model.changed_on_disk ? "holds another matcher by now: restart the server to use it" : "unchanged since the start"],
  ].map(([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value)));
  const head = ["threshold", "FAR", "FRR", "FPIR", "FNIR"].map((name) => element("th", { scope: "col" }, name));
  const curve = model.curve.map((point) => {
    const rates = [point.far, point.frr, point.fpir, point.fnir].map(percent);
    return element("tr", {}, ...[point.threshold.toFixed(3), ...rates].map((text) => element("td", {}, text)));
  });
  document.querySelector("#card").replaceChildren(
    element("div", { class: "scroll", tabindex: "0" }, element("table", {}, ...rows)),
    element("h3", {}, "Measured thresholds"),
    element("div", { class: "scroll", tabindex: "0" }, element("table", {}, element("tr", {}, ...head), ...curve)),
  );
}

function removeView(id) {
  document.querySelector(`#${id}`).remove();
  document.querySelector(`header nav a[href="#${id}"]`).remove();
  views.splice(views.findIndex((view) => view.id === id), 1);
}

async function start() {
  model = await get("/model");
  const gallery = model.gallery === null ? "no gallery" : `${model.gallery.toLocaleString("en")} images in the gallery`;
  document.querySelector("#model").textContent = `${visible(model.name)}, ${gallery}`;
  startThreshold(model);
  onThreshold(showHits);
  onThreshold(showMatch);
  showCard();
  imageChoice(document.querySelector("#first-drop"), (image) => {
    pair[0] = image;
    attempt(compare);
  });
  imageChoice(document.querySelector("#second-drop"), (image) => {
    pair[1] = image;
    attempt(compare);
  });
  if (model.gallery === null) ["search", "gallery", "review"].forEach(removeView);
  else {
    if (!model.review) removeView("review");
    const take = imageChoice(document.querySelector("#search-drop"), (image) => attempt(() => search(image)));
    document.addEventListener("paste", (event) => {
      if (!document.querySelector("#search").hidden && event.clipboardData.files.length) take(event.clipboardData.files[0]);
    });
    startGallery();
    if (model.review) startReview();
    await refreshLabels();
  }
  showView();
}

document.querySelector("#enrol").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const { id } = await send("/gallery", { image: query, label: document.querySelector("#enrol-label").value });
    await Promise.all([search(query), refreshLabels()]);
    done(`Added as image ${id}.`);
  });
});
window.addEventListener("hashchange", showView);
onTokenNeeded(askForToken);
showView();
attempt(start);
