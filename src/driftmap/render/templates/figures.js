(function () {
  "use strict";
  var MOST_ROWS = 400;
  function titleOf(axis) { return axis && axis.title && axis.title.text || ""; }
  function shown(value) {
    if (value === null || value === undefined || value === "") { return "–"; }
    return typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
  }
  function spread(error, values, at) {
    if (!error || !error.array || !values) { return ""; }
    var less = (error.arrayminus || error.array)[at], more = error.array[at];
    if (!less && !more) { return ""; }
    return " (" + shown(values[at] - less) + " to " + shown(values[at] + more) + ")";
  }
  function rowsOf(trace, number) {
    var name = trace.name || "";
    if (trace.type === "heatmap") {
      return trace.z.flatMap(function (row, y) {
        return row.map(function (value, x) {
          var told = trace.customdata && trace.customdata[y] ? trace.customdata[y][x] : value;
          var place = [trace.y ? trace.y[y] : y, trace.x ? trace.x[x] : x];
          return Array.isArray(told) ? told.slice(0, 2).concat([value]) : place.concat([told]);
        }).filter(function (cells) { return cells[2] !== null && cells[2] !== ""; });
      });
    }
    var length = Math.max((trace.x || []).length, (trace.y || []).length);
    return Array.from({ length: length }, function (_, at) {
      var word = Array.isArray(trace.text) ? trace.text[at] : "";
      var x = trace.x ? shown(trace.x[at]) : at, y = trace.y ? shown(trace.y[at]) : number;
      return [word ? name + " " + word : name, x + spread(trace.error_x, trace.x, at), y + spread(trace.error_y, trace.y, at)];
    });
  }
  function add(parent, tag, text, scope) {
    var node = document.createElement(tag);
    node.textContent = text;
    if (scope) { node.scope = scope; }
    parent.appendChild(node);
    return node;
  }
  function table(chart, caption) {
    var heat = chart.data.some(function (trace) { return trace.type === "heatmap"; });
    var traces = chart.data.filter(function (trace) { return heat ? trace.type === "heatmap" : trace.hoverinfo !== "skip"; });
    var rows = traces.flatMap(rowsOf);
    var x = titleOf(chart.layout.xaxis), y = titleOf(chart.layout.yaxis);
    var made = document.createElement("table");
    add(add(made, "caption", ""), "span", rows.length > MOST_ROWS ? caption + ": the first " + MOST_ROWS + " of " + rows.length + " numbers" : caption);
    var head = add(add(made, "thead", ""), "tr", "");
    (heat ? [y || "row", x || "column", "value"] : ["series", x || "x", y || "y"]).forEach(function (name) { add(head, "th", name, "col"); });
    var body = add(made, "tbody", "");
    rows.slice(0, MOST_ROWS).forEach(function (cells) {
      var row = add(body, "tr", "");
      cells.forEach(function (cell, at) { add(row, at ? "td" : "th", shown(cell), at ? "" : "row"); });
    });
    return made;
  }
  function zoom(node, key) {
    // What is in the middle stays there.
    var layout = node._fullLayout, change = {};
    ["xaxis", "yaxis"].forEach(function (name) {
      var axis = layout[name];
      if (!axis || axis.fixedrange) { return; }
      var range = axis.range.map(Number), span = range[1] - range[0];
      var by = { "+": [0.1, -0.1], "=": [0.1, -0.1], "-": [-0.125, 0.125] }[key] || [0, 0];
      var step = name === "xaxis" ? { ArrowLeft: -0.1, ArrowRight: 0.1 }[key] : { ArrowDown: -0.1, ArrowUp: 0.1 }[key];
      change[name + ".range"] = [range[0] + span * (by[0] + (step || 0)), range[1] + span * (by[1] + (step || 0))];
    });
    return change;
  }
  window.driftmapFigures = { table: table, zoom: zoom, keys: ["+", "=", "-", "0", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"] };
})();
