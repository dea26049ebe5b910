(function () {
  "use strict";
  var served = location.protocol === "http:";
  function toRow(row) { return Array.from(row.children).slice(1); }
  function begin(node) {
    var boxes = Array.from(node.querySelectorAll(".choices input"));
    var whole = boxes.pop();
    var kept = Number(node.dataset.kept);
    var rows = Array.from(node.querySelectorAll("tbody tr"));
    var heads = toRow(node.querySelector("thead tr"));
    var frames = node.querySelector(".frames");
    function show() {
      var chosen = boxes.map(function (box) { return box.checked; });
      heads.forEach(function (head, at) { head.hidden = !chosen[at]; });
      var hidden = 0;
      rows.forEach(function (row, number) {
        var cells = toRow(row);
        cells.forEach(function (cell, at) { cell.hidden = !chosen[at]; });
        var texts = new Set(cells.filter(function (_, at) { return chosen[at]; }).map(function (cell) { return cell.textContent; }));
        row.hidden = number >= kept && texts.size < 2;
        if (row.hidden) { hidden += 1; }
      });
      node.querySelector(".picked").textContent = !hidden ? "" :
        hidden === 1 ? "1 setting is equal in all that are chosen, and hidden." :
        hidden + " settings are equal in all that are chosen, and hidden.";
      drawFrames(chosen);
    }
    function drawFrames(chosen) {
      var wanted = whole.checked ? heads.filter(function (_, at) { return chosen[at]; }) : [];
      var links = wanted.map(function (head) { return head.querySelector("a"); }).filter(Boolean);
      frames.replaceChildren.apply(frames, links.map(function (link) {
        var frame = document.createElement("iframe");
        frame.src = link.getAttribute("href");
        frame.title = link.textContent;
        frame.setAttribute("sandbox", "allow-scripts allow-downloads");
        return frame;
      }));
    }
    boxes.concat([whole]).forEach(function (box) { box.addEventListener("change", show); });
    if (!served) { whole.closest("label").hidden = true; }
    node.querySelector(".choices").hidden = false;
    show();
  }
  document.querySelectorAll(".columns").forEach(begin);
})();
