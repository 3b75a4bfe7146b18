"use strict";
(() => {
  // The cell of a student also holds the titles of its picks, which are no part of its name.
  const nameOf = (cell) => [...cell.querySelectorAll("b, small")].map((part) => part.textContent).join(" ");
  const sortValue = (cell) => cell.dataset.v ?? (nameOf(cell) || cell.textContent.trim());

  function sortBy(head) {
    const table = head.closest("table");
    const body = table.tBodies[0];
    const column = head.cellIndex;
    const numeric = head.classList.contains("n");
    const descending = head.getAttribute("aria-sort") === "ascending";
    const compare = (a, b) => {
      const [x, y] = [sortValue(a.cells[column]), sortValue(b.cells[column])];
      if (x === "" || y === "") return (x === "") - (y === ""); // missing values stay last
      const order = numeric ? parseFloat(x) - parseFloat(y) : x.localeCompare(y, "en", { numeric: true });
      return descending ? -order : order;
    };
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    body.append(...[...body.rows].sort(compare));
  }
  // A row that a link leads to stops below the heading, which stays in place while the table scrolls.
  for (const table of document.querySelectorAll(".sortable")) {
    table.style.setProperty("--head", `${table.tHead.offsetHeight}px`);
  }
  for (const head of document.querySelectorAll(".sortable thead th")) {
    head.firstElementChild.addEventListener("click", () => sortBy(head));
  }

  for (const table of document.querySelectorAll(".plain")) { // on a narrow screen each cell shows its heading
    const titles = [...table.tHead.rows[0].cells].map((head) => head.textContent);
    for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, index) => (cell.dataset.title = titles[index]));
  }

  const tip = document.getElementById("tip");
  const texts = new Map(); // trial number to text; only the wide figure contains the texts
  for (const title of document.querySelectorAll(".p > title")) {
    texts.set(title.parentElement.dataset.trial, title.textContent);
    title.remove(); // otherwise the browser would show its own tooltip as well
  }
  for (const point of document.querySelectorAll(".p")) {
    point.setAttribute("aria-label", texts.get(point.dataset.trial));
  }

  function light(number, on) {
    for (const one of document.querySelectorAll(`[data-trial="${number}"]`)) one.classList.toggle("lit", on);
  }

  function showTip(point) {
    tip.textContent = texts.get(point.dataset.trial);
    tip.hidden = false;
    const [box, own] = [point.getBoundingClientRect(), tip.getBoundingClientRect()];
    const left = Math.min(Math.max(box.left + box.width / 2 - own.width / 2, 8), innerWidth - own.width - 8);
    const above = box.top - own.height - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 8 ? box.bottom + 8 : above}px`;
  }

  let current = null;
  function enter(event) {
    const found = event.target.closest?.("[data-trial]") ?? null;
    if (found === current) return;
    leave();
    if (!found) return;
    current = found;
    light(found.dataset.trial, true);
    if (found.matches(".p")) showTip(found);
  }
  function leave() {
    if (current) light(current.dataset.trial, false);
    current = null;
    tip.hidden = true;
  }
  document.addEventListener("pointerover", enter);
  document.addEventListener("focusin", enter);
  document.addEventListener("focusout", leave);
  // A focused point scrolls into view and must keep its text; one under a resting pointer moves away from it.
  document.addEventListener("scroll", () => {
    if (current?.matches(".p") && current.matches(":focus-visible")) showTip(current);
    else leave();
  }, { passive: true, capture: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && leave());
})();
