// The gallery: tiles, pages, adding, removing, other names.

import { element, get, remove, send, sendJson, showImage, visible } from "./server.js";
import { attempt, done } from "./messages.js";

const PAGE = 60;
const tiles = document.querySelector("#tiles");
const filter = document.querySelector("#label-filter");
let label = null;
let starts = [0];
let following = null;

export function labelText(text) {
  return text === null ? "(no label)" : visible(text);
}

const MOST_LABELS = 60;
const known = document.querySelector("#labels");
const labelList = document.querySelector("#label-list");

// The labels that contain what is typed, as suggestions for every field of labels and as buttons; the server may have many.
export async function refreshLabels(text = filter.value) {
  const { labels } = await get(`/labels?${new URLSearchParams({ contains: text })}`);
  const named = labels.filter((one) => one.label !== null);
  known.replaceChildren(...named.map((one) => element("option", { value: one.label })));
  if (text !== filter.value) return;
  const buttons = labels.slice(0, MOST_LABELS).map((one) => {
    const button = element("button", { type: "button" }, `${labelText(one.label)} `, element("span", { class: "soft" }, one.count.toLocaleString("en")));
    button.addEventListener("click", () => showLabel(one.label ?? ""));
    return element("li", {}, button);
  });
  if (labels.length > MOST_LABELS) buttons.push(element("li", { class: "soft" }, "and more: type a part of the label"));
  labelList.replaceChildren(...buttons);
}

let typing = 0;

// Asks once the typing has paused.
function suggest(event) {
  clearTimeout(typing);
  if (event.target.getAttribute("list") === "labels") typing = setTimeout(() => refreshLabels(event.target.value).catch(() => {}), 150);
}

function showLabel(given) {
  [label, starts] = [given, [0]];
  attempt(showPage);
}

export async function showPage() {
  const query = new URLSearchParams({ after: starts.at(-1), limit: PAGE, ...(label === null ? {} : { label }) });
  const page = await get(`/gallery?${query}`);
  following = page.next;
  tiles.replaceChildren(...page.images.map(tile));
  const which = label === null ? "" : ` Shown: ${labelText(label || null)}.`;
  document.querySelector("#gallery-count").textContent = `${page.count.toLocaleString("en")} images in the gallery.${which}`;
  document.querySelector("#previous").disabled = starts.length === 1;
  document.querySelector("#next").disabled = following === null;
}

function tile(one) {
  const image = element("img", { alt: `Image ${one.id}`, loading: "lazy" });
  showImage(image, `/gallery/${one.id}/image`);
  const name = element("div", { class: "name" }, labelText(one.label));
  const rename = element("button", { type: "button", "aria-label": `Other name for image ${one.id}` }, "Name");
  const away = element("button", { type: "button", "aria-label": `Remove image ${one.id}` }, "Remove");
  const made = element("li", { class: "tile" }, image, name, element("div", { class: "row" }, rename, away));
  away.addEventListener("click", () => {
    if (away.dataset.sure !== "yes") {
      away.dataset.sure = "yes";
      away.textContent = "Really remove";
      setTimeout(() => {
        away.dataset.sure = "";
        away.textContent = "Remove";
      }, 4000);
      return;
    }
    attempt(async () => {
      await remove(`/gallery/${one.id}`);
      await Promise.all([showPage(), refreshLabels()]);
      done(`Image ${one.id} was removed.`);
    });
  });
  rename.addEventListener("click", () => edit(one, name));
  return made;
}

function edit(one, name) {
  const input = element("input", { list: "labels", maxlength: "1000", "aria-label": `Name of image ${one.id}` });
  input.value = one.label ?? "";
  const form = element("form", {}, input);
  const finish = () => form.replaceWith(name);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => {
      await sendJson(`/gallery/${one.id}`, { label: input.value }, "PATCH");
      one.label = input.value;
      name.textContent = labelText(input.value);
      finish();
      await refreshLabels();
      done(`Image ${one.id} is ${labelText(input.value)} now.`);
    });
  });
  input.addEventListener("keydown", (event) => event.key === "Escape" && finish());
  name.replaceWith(form);
  input.focus();
}

export function startGallery() {
  document.addEventListener("input", suggest);
  document.querySelector("#show-label").addEventListener("click", () => showLabel(filter.value || null));
  filter.addEventListener("keydown", (event) => event.key === "Enter" && showLabel(filter.value || null));
  document.querySelector("#show-all").addEventListener("click", () => {
    filter.value = "";
    showLabel(null);
    attempt(refreshLabels);
  });
  document.querySelector("#next").addEventListener("click", () => {
    starts.push(following);
    attempt(showPage);
  });
  document.querySelector("#previous").addEventListener("click", () => {
    starts.pop();
    attempt(showPage);
  });
  document.querySelector("#add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(addFiles);
  });
}

async function addFiles() {
  const files = [...document.querySelector("#add-files").files];
  const given = document.querySelector("#add-label").value;
  const failed = [];
  let added = 0;
  for (const file of files) {
    try {
      await send("/gallery", { image: file, label: given });
      added += 1;
    } catch (error) {
      failed.push(`${visible(file.name)}: ${error.message}`);
    }
  }
  document.querySelector("#add-form").reset();
  await Promise.all([showPage(), refreshLabels()]);
  done(`${added} of ${files.length} images are in the gallery.`);
  if (failed.length) throw new Error(failed.slice(0, 5).join("; "));
}

