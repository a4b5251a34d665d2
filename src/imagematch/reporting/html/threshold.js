"use strict";
(function () {
  const element = document.getElementById("threshold-steps"), slider = document.getElementById("threshold-slider");
  if (!element || !slider) return;
  const steps = JSON.parse(element.textContent), perPage = 12, fewest = 30;
  const count = (value) => value.toLocaleString("en-US");
  const rate = (value) => value === null || !Number.isFinite(value) ? "–" : String(Number(value.toPrecision(3)));
  const lists = Array.from(document.querySelectorAll(".mistakes"), (root) => ({ root, page: 0 }));

  function put(key, text) {
    for (const one of document.querySelectorAll(`[data-rate="${key}"]`)) one.textContent = text;
  }

  // The mistakes at the threshold of the chosen class, a page of them.
  function turn(list) {
    const threshold = steps.distances[slider.value], genuine = list.root.dataset.genuine === "1";
    const controls = list.root.querySelector(".controls"), label = controls && controls.querySelector("select").value;
    const found = [];
    for (const pair of list.root.querySelectorAll(".pair")) {
      const matches = Number(pair.dataset.distance) < threshold;
      pair.hidden = Boolean(controls);
      pair.querySelector("[data-decision]").textContent = (matches ? "a match" : "no match") + (matches !== genuine ? ", wrong" : ", right");
      if (matches !== genuine && (!label || pair.dataset.labels.split(" ").includes(label))) found.push(pair);
    }
    if (!controls) return;
    const pages = Math.max(1, Math.ceil(found.length / perPage));
    list.page = Math.min(Math.max(list.page, 0), pages - 1);
    for (const pair of found.slice(list.page * perPage, (list.page + 1) * perPage)) pair.hidden = false;
    list.root.querySelector(".none").hidden = found.length > 0;
    controls.querySelector("[data-page]").textContent = `page ${list.page + 1} of ${pages} (${count(found.length)})`;
    for (const button of controls.querySelectorAll("button")) {
      button.disabled = Number(button.dataset.turn) < 0 ? list.page === 0 : list.page === pages - 1;
    }
  }

  function follow() {
    const at = Number(slider.value), tp = steps.tp[at], fp = steps.fp[at], threshold = steps.distances[at];
    const far = steps.impostor ? fp / steps.impostor : null, frr = steps.genuine ? 1 - tp / steps.genuine : null;
    put("distance", threshold.toFixed(4));
    put("tp", count(tp)); put("fn", count(steps.genuine - tp)); put("fp", count(fp)); put("tn", count(steps.impostor - fp));
    put("far", rate(far)); put("frr", rate(frr)); put("fpir", rate(steps.fpir[at])); put("fnir", rate(steps.fnir[at]));
    put("precision", rate(tp + fp ? tp / (tp + fp) : null));
    put("balanced", rate(far === null || frr === null ? null : 1 - (far + frr) / 2));
    document.querySelector("[data-unresolved]").hidden = fp >= fewest;
    document.getElementById("threshold-reset").disabled = at === steps.chosen;
    for (const cell of document.querySelectorAll("[data-cell]")) {
      const share = steps.per_mille[cell.dataset.cell][at] / 1000;
      cell.textContent = (100 * share).toFixed(1);
      cell.style.setProperty("--share", Math.sqrt(share).toFixed(3));
    }
    for (const tile of document.querySelectorAll(".tile[data-distance]")) {
      tile.classList.toggle("beyond", Number(tile.dataset.distance) >= threshold);
    }
    lists.forEach(turn);
    document.dispatchEvent(new CustomEvent("threshold", { detail: threshold }));
  }

  for (const list of lists) {
    const controls = list.root.querySelector(".controls");
    if (!controls) continue;
    controls.hidden = false;
    controls.querySelector("select").addEventListener("change", () => { list.page = 0; turn(list); });
    for (const button of controls.querySelectorAll("button")) {
      button.addEventListener("click", () => { list.page += Number(button.dataset.turn); turn(list); });
    }
  }
  slider.closest(".slider").hidden = false;
  slider.value = steps.chosen;
  slider.addEventListener("input", follow);
  document.getElementById("threshold-reset").addEventListener("click", () => { slider.value = steps.chosen; follow(); });
  follow();
})();
