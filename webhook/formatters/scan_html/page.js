
"use strict";
// Sorts and filters the tables, and shows only the first rows of long ones.
(() => {
  const MAX_ROWS = matchMedia("(max-width: 40rem)").matches ? 20 : 100;
  const collator = new Intl.Collator("en", { numeric: true });
  const element = (name, properties) => Object.assign(document.createElement(name), properties);

  function sorting(box, rows, show) {
    const heads = [...box.querySelectorAll("thead tr > *")];
    heads.forEach((head, place) => {
      if (head.tagName !== "TH") return;
      const button = element("button", { type: "button" });
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        const up = was ? was === "descending" : !head.classList.contains("number");
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const keys = new Map(rows.map((row) => {
          const cell = row.cells[place];
          return [row, cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v)];
        }));
        const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);
        rows.sort((a, b) => (up ? 1 : -1) * compare(keys.get(a), keys.get(b)));
        box.querySelector("tbody").append(...rows);
        show();
      });
    });
  }

  function filtering(box, rows, show) {
    const filters = box.querySelector(".filters");
    if (!filters) return;
    const search = filters.querySelector("input");
    const selects = [...filters.querySelectorAll("select")];
    const texts = new Map();
    const textOf = (row) => {
      if (!texts.has(row)) texts.set(row, [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase());
      return texts.get(row);
    };
    const has = (row, select) => (row.dataset[select.name] ?? "").split("\n").includes(select.value);
    const apply = () => {
      const wanted = search.value.trim().toLowerCase();
      const chosen = selects.filter((select) => select.value);
      for (const row of rows) {
        const matches = (!wanted || textOf(row).includes(wanted)) && chosen.every((select) => has(row, select));
        row.classList.toggle("out", !matches);
      }
      show();
    };
    search.addEventListener("input", apply);
    selects.forEach((select) => select.addEventListener("change", apply));
    filters.querySelector(".reset").addEventListener("click", () => {
      search.value = "";
      selects.forEach((select) => { select.value = ""; });
      apply();
    });
    filters.hidden = false;
  }

  for (const box of document.querySelectorAll(".table")) {
    const rows = [...box.querySelectorAll("tbody > tr")];
    const output = box.querySelector("output");
    const more = element("button", { type: "button", className: "more", hidden: true });
    let all = false;
    const show = () => {
      const matching = rows.filter((row) => !row.classList.contains("out"));
      more.hidden = all || matching.length <= MAX_ROWS + 10; // a few more rows are shorter than a click
      matching.forEach((row, at) => row.classList.toggle("beyond", !more.hidden && at >= MAX_ROWS));
      more.textContent = `Show all ${matching.length} rows`;
      if (output) output.textContent = `${matching.length} of ${rows.length} rows${more.hidden ? "" : `, the first ${MAX_ROWS} shown`}`;
    };
    more.addEventListener("click", () => {
      all = true;
      show();
      box.querySelector(".region").focus();
    });
    box.querySelector(".region").after(more);
    if (!("ordered" in box.dataset) && rows.length > 1) sorting(box, rows, show);
    filtering(box, rows, show);
    show();
  }
})();
