// The table of a zoo: sorting by a column, filtering by words and by what came of the models.
const models = document.querySelector("#models table");
const rows = [...models.tBodies[0].rows];
const found = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
const words = byId("words"), status = byId("status"), count = byId("shown");

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const row of rows) {
    const text = found.get(row);
    row.hidden = (status.value && row.dataset.status !== status.value) || !wanted.every((word) => text.includes(word));
    left += row.hidden ? 0 : 1;
  }
  count.textContent = `${left} of ${rows.length} shown`;
}
words.addEventListener("input", filter);
status.addEventListener("change", filter);

const order = new Intl.Collator(undefined, { numeric: true });
function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
}

// What has no value comes last, whichever way the others go.
function compare(one, other, way) {
  const empty = (value) => value === "" || Number.isNaN(value);
  if (empty(one) || empty(other)) return empty(one) - empty(other);
  return way * (typeof one === "number" && typeof other === "number" ? one - other : order.compare(one, other));
}

function sort(head, column) {
  const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const one of models.tHead.rows[0].cells) one.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
  const keys = new Map(rows.map((row) => [row, key(row, column)]));
  models.tBodies[0].append(...rows.sort((a, b) => compare(keys.get(a), keys.get(b), way)));
}

[...models.tHead.rows[0].cells].forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sort(head, column));
});
byId("filter").hidden = false;
filter();
