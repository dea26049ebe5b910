(function () {
  "use strict";
  var note = document.createElement("div");
  note.className = "piece-note";
  note.id = "piece-note";
  note.hidden = true;
  note.setAttribute("role", "tooltip");
  document.body.appendChild(note);
  var notes = new Map();
  document.querySelectorAll(".pieces .piece").forEach(function (piece) {
    notes.set(piece, piece.title);
    piece.removeAttribute("title");
  });
  function pieceOf(event) { return event.target.closest ? event.target.closest(".pieces .piece") : null; }
  function show(piece) {
    var text = notes.get(piece);
    if (!text) { hide(); return; }
    note.textContent = text;
    note.hidden = false;
    var boxes = piece.getClientRects();
    var box = boxes[boxes.length - 1] || piece.getBoundingClientRect();
    var left = Math.max(4, Math.min(box.left, innerWidth - note.offsetWidth - 4));
    var below = box.bottom + 6;
    var top = below + note.offsetHeight > innerHeight ? box.top - note.offsetHeight - 6 : below;
    note.style.left = left + "px";
    note.style.top = Math.max(4, top) + "px";
  }
  function hide() { note.hidden = true; }
  function go(from, to) {
    if (!to) { return; }
    from.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
    to.scrollIntoView({ block: "nearest" });
    show(to);
  }
  function keyed(event) {
    var piece = pieceOf(event);
    if (!piece) { return; }
    var all = piece.parentNode.children;
    var to = { ArrowRight: piece.nextElementSibling, ArrowLeft: piece.previousElementSibling,
               Home: all[0], End: all[all.length - 1] }[event.key];
    if (event.key === "Escape") { hide(); }
    if (to === undefined) { return; }
    event.preventDefault();
    go(piece, to);
  }
  document.addEventListener("keydown", keyed);
  document.addEventListener("mouseover", function (event) {
    var piece = pieceOf(event);
    if (piece) { show(piece); } else if (!document.activeElement.matches(".piece")) { hide(); }
  });
  document.addEventListener("focusin", function (event) {
    var piece = pieceOf(event);
    if (!piece) { hide(); return; }
    piece.setAttribute("aria-describedby", "piece-note");
    show(piece);
  });
  document.addEventListener("focusout", function (event) {
    if (pieceOf(event)) { pieceOf(event).removeAttribute("aria-describedby"); hide(); }
  });
  document.addEventListener("scroll", function () {
    var focused = document.activeElement;
    if (!note.hidden && focused.matches(".pieces .piece")) { show(focused); } else { hide(); }
  }, true);
})();
