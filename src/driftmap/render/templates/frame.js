(function () {
  "use strict";
  var menu = document.querySelector(".contents");
  var links = Array.from(menu.querySelectorAll("a"));
  var sections = links.map(function (link) { return document.querySelector(link.getAttribute("href")); });
  var wide = matchMedia("(min-width: 75rem)");
  var waiting = false;
  function mark() {
    waiting = false;
    var line = Math.min(innerHeight * 0.3, 200);
    var atEnd = scrollY > 0 && innerHeight + scrollY >= document.documentElement.scrollHeight - 2;
    var now = atEnd ? sections.length - 1 : 0;
    sections.forEach(function (section, number) {
      if (!atEnd && section.getBoundingClientRect().top <= line) { now = number; }
    });
    links.forEach(function (link, number) {
      if (number !== now) { link.removeAttribute("aria-current"); return; }
      if (link.hasAttribute("aria-current")) { return; }
      link.setAttribute("aria-current", "location");
      var list = link.closest("nav");
      if (wide.matches && list.scrollHeight > list.clientHeight) { link.scrollIntoView({ block: "nearest" }); }
    });
  }
  function markSoon() {
    if (!waiting) { waiting = true; requestAnimationFrame(mark); }
  }
  function fold() { menu.open = wide.matches; }
  function close(event) {
    if (wide.matches || !menu.open) { return; }
    var within = menu.contains(event.target);
    if (event.type === "keydown" ? event.key === "Escape" : !within || event.target.closest("a")) {
      menu.open = false;
      if (event.type === "keydown") { menu.querySelector("summary").focus(); }
    }
  }
  function reach() {
    // Only what can be scrolled is a stop of the tab key.
    document.querySelectorAll(".scroll, .said").forEach(function (node) {
      var hidden = node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1;
      if (hidden) { node.tabIndex = 0; } else { node.removeAttribute("tabindex"); }
    });
  }
  function openTarget() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (var node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") { node.open = true; }
    }
  }
  var opened = [];
  function toPaper() {
    document.documentElement.classList.add("paper");
    opened = Array.from(document.querySelectorAll("main details:not([open], .numbers)"));
    opened.forEach(function (node) { node.open = true; });
  }
  function toScreen() {
    document.documentElement.classList.remove("paper");
    opened.forEach(function (node) { node.open = false; });
    opened = [];
  }
  wide.addEventListener("change", fold);
  document.addEventListener("click", close);
  document.addEventListener("keydown", close);
  document.addEventListener("toggle", reach, true);
  addEventListener("scroll", markSoon, { passive: true });
  addEventListener("resize", function () { markSoon(); reach(); });
  addEventListener("hashchange", openTarget);
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", toScreen);
  addEventListener("load", function () { reach(); mark(); });
  fold();
  openTarget();
  mark();
})();
