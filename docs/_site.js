// What the theme adds by script gets what a keyboard and a screen reader need: tables that scroll, the buttons of code.
new MutationObserver(() => {
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) table.tabIndex = 0;
  document.querySelectorAll(".md-code__nav").forEach((nav, index) => nav.setAttribute("aria-label", `Code ${index + 1}`));
}).observe(document.documentElement, { childList: true, subtree: true });
