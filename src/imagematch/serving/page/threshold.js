// The threshold that decides on this page, and the error rates that were measured for it.

import { element } from "./server.js";

const slider = document.querySelector("#threshold");
const listeners = [];
let model = null;

export function threshold() {
  return Number(slider.value) === rounded(model.decision.threshold) ? model.decision.threshold : Number(slider.value);
}

export function onThreshold(listener) {
  listeners.push(listener);
}

function rounded(distance) {
  return Math.round(distance * 100) / 100;
}

export function startThreshold(given) {
  model = given;
  slider.value = rounded(model.decision.threshold);
  slider.addEventListener("input", changed);
  document.querySelector("#own-threshold").addEventListener("click", () => {
    slider.value = rounded(model.decision.threshold);
    changed();
  });
  changed();
}

// As the server has it: FAR and FPIR of the next looser measured threshold, FRR and FNIR of the next stricter one.
function ratesAt(distance) {
  if (distance === model.decision.threshold) return model.decision;
  const least = (name, holds) => {
    const measured = model.curve.filter((point) => point[name] !== null && holds(point.threshold)).map((point) => point[name]);
    return measured.length ? Math.min(...measured) : null;
  };
  const [looser, stricter] = [(at) => at >= distance, (at) => at <= distance];
  return { far: least("far", looser), frr: least("frr", stricter), fpir: least("fpir", looser), fnir: least("fnir", stricter) };
}

export function percent(rate) {
  return rate === null || rate === undefined ? "not measured" : `${Number((100 * rate).toPrecision(3))} %`;
}

const MEANINGS = {
  far: ["FAR", "share of pairs of different things that match"],
  frr: ["FRR", "share of pairs of the same thing that do not match"],
  fpir: ["FPIR", "share of searches for something not in the gallery that return anything"],
  fnir: ["FNIR", "share of searches for something in the gallery that do not return it"],
};

function changed() {
  const distance = threshold();
  document.querySelector("#threshold-value").textContent = distance.toFixed(2);
  slider.setAttribute("aria-valuetext", `distance ${distance.toFixed(2)}`);
  const rates = ratesAt(distance);
  const own = distance === model.decision.threshold;
  const list = Object.entries(MEANINGS).map(([name, [short, meaning]]) => {
    const bound = own || rates[name] === null ? "" : "at most ";
    return element("div", { title: meaning }, element("dt", {}, short), element("dd", {}, bound + percent(rates[name])));
  });
  document.querySelector("#rates").replaceChildren(...list);
  document.querySelector("#rates-note").textContent =
    "FAR: pairs of different things that match. FRR: pairs of the same thing that do not. Both of the calibration images." +
    (model.measured_on ? ` FPIR: searches for something not in the gallery that return anything. FNIR: those for something in it that do not return it. Both of the ${model.measured_on} images.` : "");
  for (const listener of listeners) listener(distance);
}
