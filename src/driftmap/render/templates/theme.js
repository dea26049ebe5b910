(function () {
  "use strict";
  // Before anything is drawn, so that no page flashes in the other colours.
  var root = document.documentElement;
  var system = matchMedia("(prefers-color-scheme: dark)");
  function kept() { try { return localStorage.getItem("driftmap-theme"); } catch (error) { return null; } }
  function show(theme) {
    root.dataset.theme = theme;
    document.dispatchEvent(new Event("themechange"));
  }
  function chosen() { return kept() || (system.matches ? "dark" : "light"); }
  root.classList.add("scripted");
  show(chosen());
  system.addEventListener("change", function () { show(chosen()); });
  addEventListener("DOMContentLoaded", function () {
    var button = document.getElementById("theme");
    function tell() { button.setAttribute("aria-pressed", root.dataset.theme === "dark"); }
    button.addEventListener("click", function () {
      var theme = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("driftmap-theme", theme); } catch (error) { /* not kept, then */ }
      show(theme);
    });
    document.addEventListener("themechange", tell);
    tell();
  });
})();
