"use strict";
(function () {
  // A list of rows of images: which kind is shown, what their paths contain, a page at a time.
  for (const root of document.querySelectorAll(".browse")) {
    const controls = root.querySelector(".controls"), items = Array.from(root.querySelectorAll(".item"));
    const kind = controls.querySelector("select"), text = controls.querySelector("input"), perPage = 20;
    let page = 0;
    function turn() {
      const wanted = text.value.trim().toLowerCase();
      const found = items.filter((one) => (!kind.value || one.dataset.kind === kind.value) && one.dataset.text.toLowerCase().includes(wanted));
      const pages = Math.max(1, Math.ceil(found.length / perPage));
      page = Math.min(Math.max(page, 0), pages - 1);
      const shown = new Set(found.slice(page * perPage, (page + 1) * perPage));
      for (const one of items) one.hidden = !shown.has(one);
      controls.querySelector("[data-page]").textContent = `page ${page + 1} of ${pages} (${found.length.toLocaleString("en-US")})`;
      for (const button of controls.querySelectorAll("button")) {
        button.disabled = Number(button.dataset.turn) < 0 ? page === 0 : page === pages - 1;
      }
    }
    const anew = () => { page = 0; turn(); };
    kind.addEventListener("change", anew);
    text.addEventListener("input", anew);
    for (const button of controls.querySelectorAll("button")) {
      button.addEventListener("click", () => { page += Number(button.dataset.turn); turn(); });
    }
    controls.hidden = false;
    turn();
  }

  // An image that is clicked, or entered, is shown large with its caption; Esc or another click closes it.
  const dialog = document.createElement("dialog");
  dialog.className = "large";
  document.body.append(dialog);
  dialog.addEventListener("click", () => dialog.close());
  function enlarge(image) {
    const large = image.cloneNode(), caption = document.createElement("p");
    for (const name of ["tabindex", "role", "title"]) large.removeAttribute(name);
    caption.textContent = [image.title, image.closest("figure").querySelector("strong").textContent].join("  ");
    dialog.replaceChildren(large, caption);
    dialog.showModal();
  }
  for (const image of document.querySelectorAll(".browse .tile img")) {
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.addEventListener("click", () => enlarge(image));
    image.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); enlarge(image); }
    });
  }
})();
