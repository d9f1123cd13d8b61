"use strict";
// The page is whole without this script: it hides what was not asked for, sorts, searches and follows links.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// ---------------------------------------------------------------- light and dark

const theme = document.getElementById("theme");
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (systemIsDark.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; };

theme.addEventListener("click", () => {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
systemIsDark.addEventListener("change", nameTheme);

// ---------------------------------------------------------------- one method at a time

const methods = all("section.method");
const lost = document.getElementById("lost");

function showMethod(label) {
  for (const part of all("[data-method]")) part.hidden = part.dataset.method !== label;
  for (const button of all("[data-pick]")) button.setAttribute("aria-pressed", String(button.dataset.pick === label));
}

for (const button of all("[data-pick]")) button.addEventListener("click", () => showMethod(button.dataset.pick));

// ---------------------------------------------------------------- one concept at a time

const beside = matchMedia("(min-width: 60.01rem)");
const rowOf = (panel) => panel.closest("section.method").querySelector(`tr[data-key="${CSS.escape(panel.id)}"]`);

function showConcept(panel) {
  const method = panel.closest("section.method");
  for (const other of all(".panel", method)) other.hidden = other !== panel;
  for (const row of all(".concepts tbody tr[data-key]", method)) {
    row.classList.toggle("open", row.dataset.key === panel.id);
    row.querySelector("a").toggleAttribute("aria-current", row.dataset.key === panel.id);
  }
  const panels = method.querySelector(".panels");
  panels.classList.add("one");
  panels.scrollTop = 0;
}

// Beside the list where there is room for both, else in the list, below its own row.
function place(panel) {
  const method = panel.closest("section.method"), row = rowOf(panel);
  for (const line of all("tr.opened", method)) {
    method.querySelector(".panels").append(...line.cells[0].children);
    line.remove();
  }
  if (beside.matches) return;
  const line = document.createElement("tr");
  line.className = "opened";
  const cell = line.insertCell();
  cell.colSpan = row.cells.length;
  cell.append(panel);
  row.after(line);
}

beside.addEventListener("change", () => { for (const panel of all(".panel:not([hidden])")) place(panel); });

function open(panel) {
  const row = rowOf(panel);
  const before = row.offsetParent ? row.getBoundingClientRect().top : -1;
  showMethod(panel.closest("section.method").dataset.method);
  showConcept(panel);
  place(panel);
  if (beside.matches) panel.closest(".columns").scrollIntoView();
  // What was tapped stays where it is, though a concept above it closes.
  else if (before >= 0 && before < innerHeight) scrollBy({ top: row.getBoundingClientRect().top - before, behavior: "instant" });
  else row.scrollIntoView();
  panel.focus({ preventScroll: true });
}

function named(hash) {
  try { return decodeURIComponent(hash.slice(1)); } catch { return hash.slice(1); }
}

function follow() {
  const name = named(location.hash);
  const target = document.getElementById(name);
  lost.hidden = !name || target !== null;
  lost.textContent = lost.hidden ? "" : `This page has no \u201c${name}\u201d; choose a concept from the lists.`;
  if (!lost.hidden) lost.scrollIntoView();
  if (target?.matches(".panel")) return open(target);
  const method = target?.closest("section.method");
  if (!method) return;
  showMethod(method.dataset.method);
  target.scrollIntoView();
}

addEventListener("hashchange", follow);
// A link to the concept that the address names already is no change of the address.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#']");
  if (link && link.getAttribute("href") === location.hash) follow();
});
for (const row of all(".concepts tbody tr")) {
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !getSelection().toString()) row.querySelector("a").click();
  });
}

// ---------------------------------------------------------------- sort and search

const compare = (a, b, sign) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const difference = Number(a) - Number(b);
  return sign * (Number.isNaN(difference) ? a.localeCompare(b, undefined, { numeric: true }) : difference);
};

function sortBy(table, column, direction) {
  const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const body = table.tBodies[0];
  const opened = body.querySelector("tr.opened");
  const rows = [...body.rows].filter((row) => row !== opened);
  body.append(...rows.sort((a, b) => compare(key(a), key(b), direction === "ascending" ? 1 : -1)));
  if (opened) rowOf(opened.querySelector(".panel")).after(opened);
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    if (i === column) head.setAttribute("aria-sort", direction);
    else head.removeAttribute("aria-sort");
  });
}

for (const table of all("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    // Numbers begin with the largest, names with the first.
    const [first, second] = head.matches(".n") ? ["descending", "ascending"] : ["ascending", "descending"];
    sortBy(table, i, head.getAttribute("aria-sort") === first ? second : first);
  }));
}

// A number stands for itself: 10 is neither 210 nor part of a word.
const matches = (text, wanted) => (/^\d+$/.test(wanted) ? text.split(/[^\p{L}\p{N}]+/u).includes(wanted) : text.includes(wanted));

for (const method of methods) {
  const input = method.querySelector("input[type=search]");
  const rows = all(".concepts tbody tr[data-key]", method);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !matches(row.dataset.search.toLowerCase(), wanted);
    for (const opened of all("tr.opened", method)) opened.hidden = opened.previousElementSibling.hidden;
    const n = rows.filter((row) => !row.hidden).length;
    method.querySelector(".found").textContent = wanted ? `${n} of ${rows.length} concepts` : "";
  });
}

// ---------------------------------------------------------------- what `classifsae serve` answers

async function answerTo(text) {
  const asked = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text }) };
  try { return await (await fetch("explain", asked)).json(); } catch { return { error: "The server does not answer; is classifsae serve still running?" }; }
}

function serve(form, answer, button) {
  for (const part of all(".served")) part.hidden = false;
  for (const part of all("[data-file]")) { // the page as a file links to nothing beside it
    const link = document.createElement("a");
    Object.assign(link, { href: part.dataset.file, download: "", textContent: part.textContent });
    part.replaceWith(link);
  }
  form.elements.text.addEventListener("input", () => { if (!form.elements.text.value) answer.textContent = ""; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    answer.textContent = "\u2026";
    const said = await answerTo(form.elements.text.value);
    if (said.error) answer.textContent = said.error;
    else answer.innerHTML = said.html; // escaped there
    button.disabled = false;
  });
}

if (document.documentElement.hasAttribute("data-served")) {
  serve(document.querySelector("#try form"), document.querySelector("#try output"), document.querySelector("#try button"));
}

// ---------------------------------------------------------------- at the start

for (const tool of [theme, ...all(".picker, .search")]) tool.hidden = false;
nameTheme();
for (const table of all("table.sortable")) {
  const last = table.tHead.rows[0].cells.length - 1;
  table.tHead.rows[0].cells[last].setAttribute("aria-sort", "descending");
}
for (const method of methods) showConcept(document.getElementById(method.querySelector(".concepts tbody tr").dataset.key));
if (methods.length) showMethod(methods[0].dataset.method);
follow();
