// Menus and a search field over tables of class "filterable". Without this script the whole table stands there.
"use strict";

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

function filterable(table) {
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.tHead.rows[0].cells];
  const text = (row, column) => row.cells[column].textContent;
  const asked = new URLSearchParams(location.search);
  const form = document.createElement("form");
  form.className = "survey-filter";
  const words = document.createElement("input");
  words.type = "search";
  words.value = asked.get("words") ?? "";
  form.append(control("words", words));
  const menus = [];
  columns.forEach((head, column) => {
    if (head.dataset.filter !== "choice") return;
    const values = [...new Set(rows.map((row) => text(row, column)))].filter(Boolean).sort();
    const box = menu(head.textContent, values);
    const select = box.querySelector("select");
    select.value = asked.get(head.textContent) ?? "";
    menus.push({ column, select });
    form.append(box);
  });
  const count = document.createElement("output");
  form.append(count);
  const found = rows.map((row) => row.textContent.toLowerCase());

  function apply() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const chosen = menus.every(({ column, select }) => !select.value || text(row, column) === select.value);
      row.hidden = !(chosen && wanted.every((word) => found[index].includes(word)));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = `${shown} of ${rows.length}`;
  }

  for (const change of ["input", "change"]) form.addEventListener(change, apply); // menus may only give the second
  form.addEventListener("submit", (event) => event.preventDefault());
  table.closest(".survey-scroll").before(form);
  apply();
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("table.filterable").forEach(filterable));
