/* Tables whose columns sort: the heads of class "sortable" tables become buttons. */
const SortableTable = class {
  constructor(table) {
    this.body = table.tBodies[0];
    // Every column has one such head, in the order of the columns.
    this.heads = [...table.tHead.querySelectorAll("th[data-sort]")];
    this.column = -1;
    this.descending = false;
    this.heads.forEach((head, column) => {
      const button = element("button", { type: "button" }, head.textContent);
      button.setAttribute("aria-label", head.getAttribute("aria-label") ?? head.textContent);
      button.addEventListener("click", () => this.click(column));
      head.replaceChildren(button);
    });
    this.remember();
  }

  /* The order in which the rows are now is that of equal ones. */
  remember() {
    this.rows = [...this.body.rows];
  }

  click(column) {
    const { sort, better } = this.heads[column].dataset;
    // Words from A, numbers from the best: the highest, unless lower is better.
    const first = sort === "number" && better !== "lower";
    this.descending = this.column === column ? !this.descending : first;
    this.column = column;
    this.sort();
  }

  sort() {
    if (this.column < 0) return;
    const words = this.heads[this.column].dataset.sort === "text";
    const value = words
      ? (row) => row.cells[this.column].textContent
      : (row) => Number.parseFloat(row.cells[this.column].dataset.value);
    const sign = this.descending ? -1 : 1;
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (words) return sign * a.localeCompare(b, "en", { numeric: true });
      // What has no number stands last, either way.
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return sign * (a - b);
    };
    this.body.append(...[...this.rows].sort(compare));
    this.heads.forEach((head, i) => {
      if (i !== this.column) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
    });
  }
};

for (const table of document.querySelectorAll("table.sortable")) new SortableTable(table);
