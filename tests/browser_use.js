// Uses a page as somebody would who has no mouse, then notes what came of it.
setTimeout(function () {
  var told = {}, root = document.documentElement, menu = document.querySelector(".contents");
  var shown = function (node) { return node.checkVisibility({ visibilityProperty: true }); };
  var press = function (node, key) {
    node.focus();
    node.dispatchEvent(new KeyboardEvent("keydown", { key: key, bubbles: true, cancelable: true }));
  };
  told.folded = menu.open;
  menu.querySelector("summary").click();
  menu.open = true;
  var stops = Array.from(document.querySelectorAll("a, button, select, summary, .chart, .scroll"));
  stops = stops.filter(function (node) { return shown(node) && node.tabIndex >= 0; });
  told.first = stops[0].className;
  told.unreached = Array.from(document.querySelectorAll("main select, main summary, main .chart, nav a, #theme"))
    .filter(function (node) { node.focus(); return shown(node) && document.activeElement !== node; }).length;
  told.unnamed = document.querySelectorAll("table:not(:has(caption)), select:not(label select)").length;
  press(document.querySelector("nav a"), "Escape");
  told.closed = menu.open + " " + document.activeElement.tagName;
  var chart = document.querySelector(".picker .chart");
  var span = function () { var range = chart._fullLayout.yaxis.range; return Math.abs(range[1] - range[0]); };
  var whole = span();
  press(chart, "+");
  told.nearer = (span() / whole).toFixed(2);
  press(chart, "0");
  told.whole = (span() / whole).toFixed(2);
  var colours = function () {
    return [getComputedStyle(document.body).backgroundColor, chart._fullLayout.font.color].join(" ");
  };
  var before = colours();
  document.getElementById("theme").click();
  told.theme = root.dataset.theme + " " + document.getElementById("theme").getAttribute("aria-pressed");
  told.recoloured = colours() !== before;
  var fold = chart.closest("figure").querySelector(".numbers");
  fold.open = true;
  var sections = document.querySelectorAll("main section");
  sections[1].scrollIntoView({ behavior: "instant" });
  setTimeout(function () {
    told.numbers = fold.querySelectorAll("tbody tr").length > 3 && fold.querySelector("caption").textContent.length > 9;
    var current = document.querySelectorAll("nav [aria-current]");
    told.current = current.length === 1 && current[0].getAttribute("href") === "#" + sections[1].id;
    dispatchEvent(new Event("beforeprint"));
    told.paper = getComputedStyle(document.body).backgroundColor + " " +
                 document.querySelectorAll("main details:not([open], .numbers)").length;
    var charts = Array.from(document.querySelectorAll(".chart"));
    told.cut = charts.filter(function (node) {
      return !node._fullLayout || node._fullLayout.width > 672 ||
             node._fullLayout.width > node.clientWidth;
    }).length;
    document.body.dataset.told = JSON.stringify(told);
  }, 1500);
}, 4000);
