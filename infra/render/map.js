"use strict";
// The map is moved by its viewBox: wheel and buttons zoom, dragging and arrows move, 0 shows all of it again.
(() => {
  const svg = document.querySelector("svg");
  const all = svg.viewBox.baseVal;
  const home = { x: all.x, y: all.y, w: all.width, h: all.height };
  let box = { ...home };
  let held = null;
  const show = () => svg.setAttribute("viewBox", `${box.x} ${box.y} ${box.w} ${box.h}`);
  const point = (e) => new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());
  const move = (x, y) => { box.x += x; box.y += y; show(); };
  const zoom = (by, at = { x: box.x + box.w / 2, y: box.y + box.h / 2 }) => {
    const w = Math.min(home.w * 2, Math.max(home.w / 40, box.w * by));
    const real = w / box.w;
    box = { x: at.x + (box.x - at.x) * real, y: at.y + (box.y - at.y) * real, w, h: box.h * real };
    show();
  };
  const acts = {
    "+": () => zoom(1 / 1.4), "=": () => zoom(1 / 1.4), "-": () => zoom(1.4),
    "0": () => { box = { ...home }; show(); },
    ArrowLeft: () => move(-box.w / 10, 0), ArrowRight: () => move(box.w / 10, 0),
    ArrowUp: () => move(0, -box.h / 10), ArrowDown: () => move(0, box.h / 10),
  };
  svg.addEventListener("wheel", (e) => {
    e.preventDefault();
    zoom(e.deltaY > 0 ? 1.15 : 1 / 1.15, point(e));
  }, { passive: false });
  svg.addEventListener("pointerdown", (e) => { held = point(e); svg.setPointerCapture(e.pointerId); });
  svg.addEventListener("pointermove", (e) => {
    if (held) { const now = point(e); move(held.x - now.x, held.y - now.y); }
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { held = null; });
  document.addEventListener("keydown", (e) => {
    if (e.key in acts && !e.ctrlKey && !e.metaKey && !e.altKey) { acts[e.key](); e.preventDefault(); }
  });
  for (const button of document.querySelectorAll("button")) button.onclick = () => acts[button.dataset.key]();
  svg.addEventListener("pointerover", (e) => { // a router's links stand out while the pointer is on it
    const router = e.target.closest(".router");
    for (const link of svg.querySelectorAll(".link")) {
      link.classList.toggle("lit", !!router && link.dataset.ends.split(" ").includes(router.dataset.router));
    }
  });
})();
