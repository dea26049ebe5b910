(function () {
  "use strict";
  var charts = JSON.parse(document.getElementById("chart-data").textContent);
  var drawn = new Set();
  var config = { responsive: true, displaylogo: false, showSendToCloud: false, displayModeBar: "hover",
                 modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
  function layoutOf(name, width) {
    var style = getComputedStyle(document.documentElement);
    function colour(role) { return style.getPropertyValue(role).trim(); }
    var layout = JSON.parse(JSON.stringify(charts[name].layout));
    layout.paper_bgcolor = "rgba(0,0,0,0)";
    layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { color: colour("--ink"), family: "system-ui, sans-serif", size: width < 420 ? 11 : 13 };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent") };
    layout.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink") } };
    layout.margin = { l: 8, r: 12, t: 34, b: 8 };
    layout.legend = { orientation: "h", yref: "container", y: 0, yanchor: "bottom", xref: "container", x: 0.5, xanchor: "center" };
    ["xaxis", "yaxis"].forEach(function (axis) {
      layout[axis] = Object.assign({ automargin: true, gridcolor: colour("--line"), zeroline: false,
                                     linecolor: colour("--line"), nticks: width < 420 ? 5 : 8 }, layout[axis]);
    });
    return layout;
  }
  function isDark() {
    return matchMedia("(prefers-color-scheme: dark)").matches && !document.documentElement.classList.contains("paper");
  }
  function dataOf(name) {
    return charts[name].data.map(function (trace) {
      return isDark() && trace.meta ? Object.assign({}, trace, { colorscale: trace.meta.dark }) : trace;
    });
  }
  function draw(node) {
    var name = node.dataset.chart;
    drawn.add(node);
    Plotly.react(node, dataOf(name), layoutOf(name, node.clientWidth), config);
  }
  function isShown(node) { return node.closest("details:not([open])") === null; }
  function drawNew() {
    document.querySelectorAll(".chart").forEach(function (node) {
      if (isShown(node) && !drawn.has(node)) { draw(node); }
    });
  }
  function redraw() { drawn.forEach(function (node) { if (isShown(node)) { draw(node); } else { drawn.delete(node); } }); }
  var opened = [];
  function toPaper() {
    document.documentElement.classList.add("paper");
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (node) { node.open = true; });
    redraw();
    drawNew();
  }
  function toScreen() {
    document.documentElement.classList.remove("paper");
    opened.forEach(function (node) { node.open = false; });
    opened = [];
    redraw();
  }
  drawNew();
  document.querySelectorAll("details").forEach(function (node) { node.addEventListener("toggle", drawNew); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);
})();
