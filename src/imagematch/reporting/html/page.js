"use strict";
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false,
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,  // it would stay over the legend
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // Text with seven bits a character that holds a zlib stream.
  async function unpacked(id) {
    const element = document.getElementById(id), text = element.textContent;
    const out = new Uint8Array(Number(element.dataset.bytes));
    for (let i = 0, o = 0, bits = 0, held = 0; i < text.length && o < out.length; i++) {
      held = ((held << 7) | (text.charCodeAt(i) & 127)) & 0x3fff;
      bits += 7;
      if (bits >= 8) { bits -= 8; out[o++] = held >>> bits; }
    }
    const stream = new Blob([out]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  // What all plots share. Paper is white, whatever the screen is.
  function painted(layout, onPaper, least = 0) {
    const night = dark.matches && !onPaper;
    const ink = night ? "#dde1e7" : "#1f242b", line = night ? "#343a43" : "#e3e6ea";
    const copy = JSON.parse(JSON.stringify(layout));
    const shades = { gridcolor: line, zerolinecolor: line, linecolor: line };
    const axis = Object.assign({ automargin: true, title: { standoff: 12 } }, shades);
    const colorbar = { outlinewidth: 0, ticks: "" };
    copy.template = {
      layout: { xaxis: axis, yaxis: axis, hovermode: "closest", coloraxis: { colorbar } },
      data: { contour: [{ colorbar }], scatter: [{ marker: { colorbar } }], parcoords: [{ line: { colorbar } }] },
    };
    copy.paper_bgcolor = copy.plot_bgcolor = "rgba(0,0,0,0)";
    copy.font = Object.assign({}, copy.font, { color: ink, family: "system-ui, sans-serif" });
    copy.modebar = { bgcolor: "rgba(0,0,0,0)", color: "#8b929c", activecolor: ink };
    for (const key of Object.keys(copy)) {
      if (/^[xy]axis\d*$/.test(key)) Object.assign(copy[key], shades);
    }
    delete copy.width;
    if (onPaper) copy.width = Math.max(680, least);  // a browser prints what was drawn for the screen, cut off at the paper's edge
    copy.autosize = !onPaper;
    return copy;
  }

  function draw(figure) {
    if (figure.spec) return;
    figure.spec = specifications[Number(figure.dataset.number)];
    for (const trace of figure.spec.data) {
      if (typeof trace.hovertext === "number") trace.hovertext = figure.spec.texts[trace.hovertext];
    }
    Plotly.newPlot(figure.querySelector(".canvas"), figure.spec.data, painted(figure.spec.layout, false), config);
    mark(figure);
  }

  // The slider's threshold: a line in the plot of distances, a mark on the matcher's curve in those of error rates.
  let threshold = null;
  function mark(figure) {
    if (!figure.spec || threshold === null) return;
    const { data, layout } = figure.spec, name = `threshold ${threshold.toFixed(4)}`;
    const line = (layout.shapes || []).find((shape) => shape.name === "threshold");
    const point = data.find((trace) => trace.meta === "threshold");
    if (!line && !point || (line ? line.x0 === threshold : point.name === name)) return;
    if (line) {
      line.x0 = line.x1 = threshold;
      for (const label of layout.annotations) {
        if (label.name === "threshold") { label.x = threshold; label.text = name; }
      }
    } else {
      const curve = data[0], distances = curve.customdata.map((value) => [value].flat().at(-1));
      const at = Math.max(0, distances.findLastIndex((distance) => distance <= threshold));
      point.x = [curve.x[at]]; point.y = [curve.y[at]]; point.name = name;
    }
    Plotly.react(figure.querySelector(".canvas"), data, painted(layout, false), config);
  }
  document.addEventListener("threshold", (event) => { threshold = event.detail; figures.forEach(mark); });

  function redraw(onPaper) {
    for (const figure of figures) {
      if (!figure.spec) continue;
      const canvas = figure.querySelector(".canvas"), least = parseInt(canvas.style.minWidth) || 0;
      Plotly.react(canvas, figure.spec.data, painted(figure.spec.layout, onPaper, least), config);
    }
  }

  const figures = Array.from(document.querySelectorAll("figure.plot"));
  let specifications = [];
  Promise.all([unpacked("plotly"), unpacked("plots")]).then(([code, plots]) => {
    specifications = JSON.parse(plots);
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
    }, { rootMargin: "800px" });
    for (const figure of figures) seen.observe(figure);
    window.addEventListener("beforeprint", () => { figures.forEach(draw); redraw(true); });
    window.addEventListener("afterprint", () => redraw(false));
    dark.addEventListener("change", () => redraw(false));
  }).catch(() => {
    for (const figure of figures) figure.querySelector(".canvas").textContent = "Plots need a browser of 2023 or later.";
  });
})();
