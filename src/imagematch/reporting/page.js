"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false,
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,  // it would stay over the legend
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function painted(layout) {
    const ink = dark.matches ? "#dde1e7" : "#1f242b", line = dark.matches ? "#343a43" : "#e3e6ea";
    const copy = JSON.parse(JSON.stringify(layout));
    copy.paper_bgcolor = copy.plot_bgcolor = "rgba(0,0,0,0)";
    copy.font = Object.assign({}, copy.font, { color: ink, family: "system-ui, sans-serif" });
    copy.modebar = { bgcolor: "rgba(0,0,0,0)", color: "#8b929c", activecolor: ink };
    const shades = { gridcolor: line, zerolinecolor: line, linecolor: line };
    copy.template = copy.template || {};
    copy.template.layout = copy.template.layout || {};
    for (const axis of ["xaxis", "yaxis"]) {
      copy.template.layout[axis] = Object.assign({}, copy.template.layout[axis], shades);
    }
    for (const key of Object.keys(copy)) {
      if (/^[xy]axis\d*$/.test(key)) Object.assign(copy[key], shades);
    }
    delete copy.width;
    return copy;
  }

  function draw(figure) {
    if (figure.spec) return;
    figure.spec = JSON.parse(figure.querySelector("script").textContent);
    Plotly.newPlot(figure.querySelector(".canvas"), figure.spec.data, painted(figure.spec.layout), config);
  }

  const figures = Array.from(document.querySelectorAll("figure.plot"));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "800px" });
  for (const figure of figures) seen.observe(figure);
  window.addEventListener("beforeprint", () => figures.forEach(draw));
  dark.addEventListener("change", () => {
    for (const figure of figures) {
      if (figure.spec) Plotly.react(figure.querySelector(".canvas"), figure.spec.data, painted(figure.spec.layout), config);
    }
  });
})();
