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
  function isPaper() { return document.documentElement.classList.contains("paper"); }
  function isDark() { return document.documentElement.dataset.theme === "dark" && !isPaper(); }
  function dataOf(name) {
    return charts[name].data.map(function (trace) {
      if (!trace.meta) { return trace; }
      var drawnTrace = Object.assign({}, trace);
      if (isDark()) { drawnTrace.colorscale = trace.meta.dark; }
      if (trace.meta.rows) { drawnTrace.customdata = namesOf(trace.meta); }
      return drawnTrace;
    });
  }
  function namesOf(meta) {
    return meta.rows.map(function (row) {
      return meta.columns.map(function (column) { return [row, column]; });
    });
  }
  function draw(node) {
    var name = node.dataset.chart;
    var layout = layoutOf(name, node.clientWidth);
    if (isPaper()) { layout.width = node.clientWidth; layout.height = node.clientHeight; }
    drawn.add(node);
    Plotly.react(node, dataOf(name), layout, config);
  }
  function spell(fold) {
    // The numbers of a chart as a table, for whoever cannot see or point at it.
    var figure = fold.closest("figure");
    var old = fold.querySelector("table");
    var holder = fold.querySelector(".scroll");
    if (old) { old.remove(); }
    if (!fold.open) { return; }
    var title = figure.querySelector("h3").textContent;
    var options = Array.from(figure.querySelectorAll(".choices select")).map(function (select) {
      return select.options[select.selectedIndex].text;
    });
    var which = options.length ? title + " (" + options.join(", ") + ")" : title;
    var name = figure.querySelector(".chart").dataset.chart;
    holder.appendChild(driftmapFigures.table({ data: dataOf(name), layout: charts[name].layout }, which));
  }
  function keyed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || driftmapFigures.keys.indexOf(event.key) < 0) { return; }
    if (event.target !== event.currentTarget || !drawn.has(event.currentTarget)) { return; }
    event.preventDefault();
    if (event.key === "0") { draw(event.currentTarget); return; }
    Plotly.relayout(event.currentTarget, driftmapFigures.zoom(event.currentTarget, event.key));
  }
  function isShown(node) { return node.closest("details:not([open])") === null; }
  function drawNew() {
    document.querySelectorAll(".chart").forEach(function (node) {
      if (isShown(node) && !drawn.has(node)) { draw(node); }
    });
  }
  function redraw() { drawn.forEach(function (node) { if (isShown(node)) { draw(node); } else { drawn.delete(node); } }); }
  function pickerOf(figure) {
    var selects = Array.from(figure.querySelectorAll(".choices select"));
    var node = figure.querySelector(".chart");
    function pick() {
      var number = selects.reduce(function (sum, select) {
        return sum * select.options.length + select.selectedIndex;
      }, 0);
      var name = figure.dataset.picker + "/" + number;
      node.dataset.chart = name;
      node.style.height = charts[name].height + "px";
      node.style.minWidth = charts[name].least + "px";
      figure.querySelector(".picked").textContent = charts[name].note;
      if (drawn.has(node)) { draw(node); Plotly.Plots.resize(node); }
      spell(figure.querySelector(".numbers"));
    }
    selects.forEach(function (select) { select.addEventListener("change", pick); });
    figure.querySelector(".choices").hidden = false;
    pick();
  }
  document.querySelectorAll(".numbers").forEach(function (fold) {
    fold.addEventListener("toggle", function () { spell(fold); });
  });
  document.querySelectorAll(".chart").forEach(function (node) { node.addEventListener("keydown", keyed); });
  document.querySelectorAll(".picker").forEach(pickerOf);
  drawNew();
  document.querySelectorAll("details").forEach(function (node) { node.addEventListener("toggle", drawNew); });
  document.addEventListener("themechange", redraw);
  addEventListener("beforeprint", function () { redraw(); drawNew(); });
  addEventListener("afterprint", redraw);
})();
