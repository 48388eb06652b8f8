"use strict";
// The page is whole without this: headings become buttons that sort, and printing opens what is folded.
(() => {
  const missing = (cell) => cell.hasAttribute("data-missing");
  const byText = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

  const comparison = (numeric) => (a, b) =>
    numeric
      ? Number(a.dataset.value) - Number(b.dataset.value)
      : byText.compare(a.textContent.trim(), b.textContent.trim());

  const sort = (table, head) => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    const compare = comparison(head.classList.contains("number"));
    const column = head.cellIndex;
    const rows = Array.from(table.tBodies[0].rows);
    // What is missing is last both ways; Array.sort keeps the order of equal rows.
    rows.sort((one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return ascending ? compare(a, b) : compare(b, a);
    });
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head));
      head.append(button);
    }
  }

  const opened = [];
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details:not([open])")) {
      folded.open = true;
      opened.push(folded);
    }
  });
  addEventListener("afterprint", () => {
    for (const folded of opened.splice(0)) folded.open = false;
  });
})();
