(function () {
  "use strict";
  var charts = JSON.parse(document.getElementById("chart-data").textContent);
  var config = { responsive: true, displaylogo: false, showSendToCloud: false, displayModeBar: "hover",
                 modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  function look() {
    var style = getComputedStyle(document.documentElement);
    var ink = style.getPropertyValue("--ink").trim();
    var line = style.getPropertyValue("--line").trim();
    return { ink: ink, line: line };
  }
  function layoutOf(name) {
    var colours = look();
    var layout = JSON.parse(JSON.stringify(charts[name].layout));
    layout.paper_bgcolor = "rgba(0,0,0,0)";
    layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.font = { color: colours.ink, family: "system-ui, sans-serif", size: 13 };
    layout.margin = { l: 10, r: 16, t: 12, b: 10 };
    layout.legend = { orientation: "h", yanchor: "bottom", y: 1.02, x: 0 };
    ["xaxis", "yaxis"].forEach(function (axis) {
      layout[axis] = Object.assign({ automargin: true, gridcolor: colours.line, zerolinecolor: colours.line }, layout[axis]);
    });
    return layout;
  }
  function draw(node) {
    var name = node.dataset.chart;
    Plotly.react(node, charts[name].data, layoutOf(name), config);
  }
  function drawVisible() {
    document.querySelectorAll(".chart").forEach(function (node) {
      if (node.offsetParent !== null) { draw(node); }
    });
  }
  drawVisible();
  document.querySelectorAll("details").forEach(function (node) { node.addEventListener("toggle", drawVisible); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawVisible);
})();
