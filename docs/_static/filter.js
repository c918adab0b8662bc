// A search field, menus of columns with few values, sorting and pages over tables of class "filterable"; what is chosen
// stands in the address.
// Without this script the whole table stands there.
"use strict";

const ROWS = 50; // a page

function control(label, element) {
  const box = document.createElement("label");
  box.append(label, element);
  return box;
}

function menu(name, values) {
  const select = document.createElement("select");
  select.append(new Option("any", ""));
  for (const value of values) select.append(new Option(value, value));
  return control(name, select);
}

function button(text, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.addEventListener("click", act);
  return made;
}

function compare(first, second) {
  const numbers = [Number(first), Number(second)];
  return first && second && !numbers.some(Number.isNaN) ? numbers[0] - numbers[1] : first.localeCompare(second);
}

function searched(row) {
  return `${row.textContent} ${[...row.querySelectorAll("a")].map((a) => a.href)}`.toLowerCase();
}

function filterable(table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const columns = [...table.tHead.rows[0].cells];
  const names = columns.map((head) => head.textContent);
  const text = (row, column) => row.cells[column].textContent;
  const found = new Map(rows.map((row) => [row, searched(row)]));
  const asked = new URLSearchParams(location.search);
  let page = 0, sorted = asked.get("sort") ?? "", down = asked.has("down");

  const form = document.createElement("form");
  form.className = "survey-filter";
  const words = document.createElement("input");
  words.type = "search";
  words.value = asked.get("words") ?? "";
  form.append(control("words", words));
  const menus = [];
  columns.forEach((head, column) => {
    const values = [...new Set(rows.map((row) => text(row, column)))].filter(Boolean).sort();
    if (values.length < 2 || values.length > 40) return;
    const box = menu(names[column], values);
    const select = box.querySelector("select");
    select.value = asked.get(names[column]) ?? "";
    menus.push({ column, select });
    form.append(box);
  });
  const count = document.createElement("output");
  const previous = button("previous", () => show(page - 1));
  const next = button("next", () => show(page + 1));
  form.append(count, previous, next);

  function show(wanted) {
    const asks = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = rows.filter((row) =>
      menus.every(({ column, select }) => !select.value || text(row, column) === select.value) &&
      asks.every((word) => found.get(row).includes(word)));
    const column = names.indexOf(sorted);
    if (column >= 0) kept.sort((a, b) => (down ? -1 : 1) * compare(text(a, column), text(b, column)));
    page = Math.max(0, Math.min(wanted, Math.ceil(kept.length / ROWS) - 1));
    const first = page * ROWS, last = Math.min(kept.length, first + ROWS);
    for (const row of rows) row.hidden = true;
    for (const row of kept.slice(first, last)) {
      row.hidden = false;
      body.append(row);
    }
    const range = kept.length > ROWS ? `${first + 1} to ${last}, ` : "";
    count.textContent = `${range}${kept.length} of ${rows.length}`;
    previous.hidden = page === 0;
    next.hidden = last === kept.length;
    remember();
  }

  function remember() {
    const chosen = new URLSearchParams();
    if (words.value) chosen.set("words", words.value);
    for (const { column, select } of menus) if (select.value) chosen.set(names[column], select.value);
    if (sorted) chosen.set("sort", sorted);
    if (sorted && down) chosen.set("down", "");
    history.replaceState(null, "", chosen.size ? `?${chosen}` : location.pathname);
  }

  columns.forEach((head, column) => {
    head.replaceChildren(button(names[column], () => {
      down = sorted === names[column] && !down;
      sorted = names[column];
      show(0);
    }));
  });
  for (const change of ["input", "change"]) form.addEventListener(change, () => show(0)); // menus may only give the second
  form.addEventListener("submit", (event) => event.preventDefault());
  table.closest(".survey-scroll").before(form);
  show(0);
}

// On a phone every row is a card, whose lines say which column they are.
function labelled(table) {
  const names = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, column) => cell.dataset.label = names[column]);
}

function copied(block) {
  const copy = button("copy", async () => {
    await navigator.clipboard.writeText(block.querySelector("pre").innerText);
    copy.textContent = "copied";
  });
  copy.className = "survey-copy";
  block.append(copy);
}

// The search shows what a page says, not its menus, and a page once, though it may match by title, index and text.
function searching(results) {
  Search.htmlToText = (page) => {
    const spaced = page.replaceAll(/<\/(th|td)>/g, "$& ");
    const article = new DOMParser().parseFromString(spaced, "text/html").querySelector("article");
    article?.querySelectorAll(".headerlink, div.math, script, style").forEach((part) => part.remove());
    return article?.textContent ?? "";
  };
  new MutationObserver(() => {
    const seen = new Set();
    for (const item of results.querySelectorAll("li")) {
      const { pathname } = item.querySelector("a");
      item.hidden = seen.has(pathname);
      seen.add(pathname);
    }
  }).observe(results, { childList: true, subtree: true });
}

document.addEventListener("DOMContentLoaded", () => {
  const results = document.getElementById("search-results");
  if (results) searching(results);
  document.querySelectorAll(".survey-table").forEach(labelled);
  document.querySelectorAll("table.filterable").forEach(filterable);
  document.querySelectorAll(".highlight-bibtex, .highlight-bash").forEach(copied);
});
