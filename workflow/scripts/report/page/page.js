// Sorting and filtering of tables that are complete without it.
"use strict";

// ---- sort: a button in each heading of table.sortable; cells give a sort value in data-value
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    if (heading.dataset.sort === "no") return;
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        const numeric = x !== "" && y !== "" && !isNaN(x) && !isNaN(y);
        return numeric ? x - y : x.localeCompare(y);
      };
      const rows = [...body.rows].sort(order);
      body.append(...(down ? rows.reverse() : rows));
    });
  });
}

// ---- filter the answers
const form = document.getElementById("answer-filters");
if (form) {
  form.hidden = false;
  const rows = [...document.querySelectorAll("#answer-rows > tr")];
  const output = form.querySelector("output");
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(form));
    const needle = (wanted.text || "").trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const wrong = row.dataset.wrong.split(" ");
      const visible =
        (!wanted.run || row.dataset.run === wanted.run) &&
        (!wanted.benchmark || row.dataset.benchmark === wanted.benchmark) &&
        (!wanted.show ||
          (wanted.show === "differ" ? row.dataset.differ === "yes" : wrong.includes(wanted.show))) &&
        (!needle || row.textContent.toLowerCase().includes(needle));
      row.hidden = !visible;
      shown += visible;
    }
    output.textContent = `${shown} of ${rows.length} shown`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}

// ---- mark the section in view
const links = new Map(
  [...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]),
);
const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
for (const id of links.keys()) seen.observe(document.getElementById(id));

// ---- print folded parts too
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details[data-print]")) part.open = true;
});
