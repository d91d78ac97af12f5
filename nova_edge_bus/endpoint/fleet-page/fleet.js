// SPDX-License-Identifier: Apache-2.0
// Shows fleet.json as a table of which only the rows in sight are in the document. What is in it
// comes from hosts that may be hostile: it gets into the document as text only.
"use strict";

const ROW_HEIGHT = 28;
const SPARE_ROWS = 12;
const REFRESH_SECONDS = 5;
const SHARE_OF_TIME = 20;

const SIGNS = {
  "linked": "●", "catching up": "◐", "cut off": "▲", "gone": "■", "linked, no report": "○",
};
// The worst first: what an operator looks for.
const ORDER = ["cut off", "gone", "catching up", "linked, no report", "linked"];

const number = (value) => (value === null ? "–" : value.toLocaleString("en"));

function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 10 * 3600) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  if (s < 10 * 86400) return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

const ago = (at) => (at === null ? "–" : duration(now() - at));
const lag = (at) => (at === null ? null : at === 0 ? 0 : Math.max(0, now() - at));
const instant = (at) => (at ? new Date(at * 1000).toLocaleString() : "");

// A column: its name, heading, what the heading means, width, whether it is a number, what a row's
// cell shows, what it is sorted by, and which end is looked for first.
const COLUMNS = [
  { name: "host", title: "Host", help: "Name of the host, as the process says it", width: 190,
    text: (r) => r.host, key: (r) => r.hostRank },
  { name: "service", title: "Process", help: "What kind of process it is", width: 128,
    text: (r) => r.service, key: (r) => r.service },
  { name: "state", title: "State", help: "Whether the process reaches those it works for",
    width: 140, text: (r) => r.word, key: (r) => ORDER.indexOf(r.word) },
  { name: "since", title: "For", help: "How long it has been in this state", width: 96,
    numeric: true, down: true, text: (r) => ago(r.since), key: (r) => -r.since,
    tip: (r) => `since ${instant(r.since)}` },
  { name: "lag", title: "Lag", help: "Age of the oldest entry that is pending", width: 96,
    numeric: true, down: true, figure: true, key: (r) => lag(r.oldest_at),
    text: (r) => (r.oldest_at === null ? "–" : r.oldest_at === 0 ? "0" : duration(lag(r.oldest_at))),
    tip: (r) => (r.oldest_at ? `pending since ${instant(r.oldest_at)}` : "") },
  { name: "pending", title: "Backlog", help: "Entries that are pending", width: 84,
    numeric: true, down: true, figure: true, text: (r) => number(r.pending), key: (r) => r.pending },
  { name: "dead_letters", title: "Dead", help: "Dead letters: settled without being applied",
    width: 60, numeric: true, down: true, figure: true,
    text: (r) => number(r.dead_letters), key: (r) => r.dead_letters,
    raised: (r) => r.dead_letters > 0 },
  { name: "conflicts", title: "Conflicts", width: 88, numeric: true, down: true, figure: true,
    help: "Dead letters that were refused because the centre had moved on",
    text: (r) => number(r.conflicts), key: (r) => r.conflicts,
    raised: (r) => r.conflicts > 0 },
  { name: "fenced", title: "Fenced", width: 72, numeric: true, down: true, figure: true,
    help: "Dead letters whose object is not this host's any more",
    text: (r) => number(r.fenced), key: (r) => r.fenced,
    raised: (r) => r.fenced > 0 },
  { name: "fill", title: "Journal", width: 72, numeric: true, down: true, figure: true,
    help: "How full the fullest journal of the process is",
    text: (r) => (r.fill === null ? "–" : `${number(r.fill)} %`), key: (r) => r.fill,
    raised: (r) => r.fill >= 80 },
  { name: "turned_away", title: "Copies", width: 72, numeric: true, down: true,
    help: "How often an older opening or a copy of its journal was turned away",
    text: (r) => number(r.turned_away), key: (r) => r.turned_away,
    raised: (r) => r.turned_away > 0 },
  { name: "version", title: "Version", help: "Version of the driver", width: 78, figure: true,
    text: (r) => (r.version === null ? "–" : r.version), key: (r) => r.version },
  { name: "connected", title: "Connected", help: "How long ago the session began", width: 100,
    numeric: true, text: (r) => (r.word === "gone" ? "–" : ago(r.connected_at)),
    key: (r) => (r.word === "gone" ? null : -r.connected_at),
    tip: (r) => `${r.word === "gone" ? "last " : ""}since ${instant(r.connected_at)}` },
  { name: "heard", title: "Heard", help: "How long ago anything was heard of it", width: 96,
    numeric: true, down: true, text: (r) => ago(r.heard_at), key: (r) => -r.heard_at,
    tip: (r) => instant(r.heard_at) },
];

const at = (id) => document.getElementById(id);
const view = at("view");
const body = at("rows");
const collator = new Intl.Collator("en", { numeric: true });

let rows = [];
let shown = [];
let counts = {};
let madeAt = 0;
let readAt = 0;
let wanted = { sort: "state", descending: false, states: new Set(), text: "" };
let ranks = new Map();
let pool = [];
let timer = 0;
let isReading = false;

function now() {
  return madeAt + (performance.now() - readAt) / 1000;
}

// Reading

async function read() {
  if (isReading) return;
  isReading = true;
  let took = 0;
  try {
    const answer = await fetch("fleet.json", { cache: "no-store", signal: AbortSignal.timeout(30000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const found = await answer.json();
    const began = performance.now();
    take(found);
    took = performance.now() - began;
    at("trouble").hidden = true;
  } catch (error) {
    at("trouble").textContent = readAt
      ? `The endpoint does not answer (${error.message}). What you see is ${duration(now() - madeAt)} old.`
      : `The endpoint does not answer (${error.message}).`;
    at("trouble").hidden = false;
  }
  isReading = false;
  plan(Math.max(REFRESH_SECONDS * 1000, took * SHARE_OF_TIME));
}

function plan(milliseconds) {
  clearTimeout(timer);
  if (at("refresh").checked && !document.hidden) timer = setTimeout(read, milliseconds);
}

function take(found) {
  madeAt = found.made_at;
  readAt = performance.now();
  counts = found.counts;
  rows = found.rows.map((cells) => {
    const row = {};
    for (let i = 0; i < cells.length; i++) row[found.columns[i]] = cells[i];
    row.word = found.states[row.state];
    row.haystack = `${row.host}\n${row.service}\n${row.version || ""}\n${row.outbox}`.toLowerCase();
    return row;
  });
  rank();
  at("endpoint").textContent = `of endpoint ${found.endpoint}`;
  arrange();
}

// Comparing names as people do is slow; their order changes only when new ones come.
function rank() {
  if (rows.some((row) => !ranks.has(row.host))) {
    const names = [...new Set(rows.map((row) => row.host))].sort(collator.compare);
    ranks = new Map(names.map((name, index) => [name, index]));
  }
  for (const row of rows) row.hostRank = ranks.get(row.host);
}

// Choosing and sorting

function arrange() {
  const words = wanted.text.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = rows.filter((row) =>
    (wanted.states.size === 0 || wanted.states.has(row.word)) &&
    words.every((word) => row.haystack.includes(word)));
  const column = COLUMNS.find((each) => each.name === wanted.sort);
  const keyed = chosen.map((row) => [column.key(row), row]);
  const sign = wanted.descending ? -1 : 1;
  keyed.sort(([a, x], [b, y]) => {
    if (a !== b) {
      if (a === null) return 1;
      if (b === null) return -1;
      return a < b ? -sign : sign;
    }
    return x.hostRank - y.hostRank || (x.service < y.service ? -1 : x.service > y.service ? 1 : 0);
  });
  shown = keyed.map((pair) => pair[1]);
  head();
  summarise();
  render();
}

function summarise() {
  const hosts = new Set(rows.map((row) => row.host)).size;
  const part = shown.length === rows.length ? "" : `, ${number(shown.length)} shown`;
  at("summary").textContent =
    `${number(hosts)} hosts, ${number(rows.length)} processes${part}; as of ${new Date(madeAt * 1000).toLocaleTimeString()}`;
  for (const button of at("states").querySelectorAll("button")) {
    button.querySelector("b").textContent = number(counts[button.dataset.state] || 0);
    button.setAttribute("aria-pressed", String(wanted.states.has(button.dataset.state)));
  }
  view.querySelector("table").setAttribute("aria-rowcount", String(shown.length + 1));
  at("nothing").hidden = shown.length > 0;
}

function head() {
  COLUMNS.forEach((column, index) => {
    const cell = at("head").children[index];
    const isSorted = column.name === wanted.sort;
    const arrow = wanted.descending ? " ↓" : " ↑";
    cell.firstChild.textContent = column.title + (isSorted ? arrow : "");
    if (isSorted) cell.setAttribute("aria-sort", wanted.descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
}

// Showing

function makeRow() {
  const row = document.createElement("tr");
  for (const column of COLUMNS) {
    const cell = row.appendChild(document.createElement(column.name === "host" ? "th" : "td"));
    if (column.name === "host") cell.scope = "row";
    if (column.name === "state") {
      const sign = cell.appendChild(document.createElement("span"));
      sign.className = "sign";
      sign.setAttribute("aria-hidden", "true");
      cell.appendChild(document.createElement("span"));
    }
  }
  return row;
}

function fill(element, row, index) {
  element.setAttribute("aria-rowindex", String(index + 2));
  COLUMNS.forEach((column, place) => {
    const cell = element.children[place];
    const text = column.text(row);
    const classes = column.numeric ? ["number"] : [];
    if (column.name === "state") {
      cell.firstChild.textContent = SIGNS[text] || "";
      cell.lastChild.textContent = text;
      classes.push(text.replace(/[^a-z]+/g, "-"));
    } else {
      cell.textContent = text;
      if (text === "–" || text === "0") classes.push("none");
      else if (column.raised && column.raised(row)) classes.push("raised");
      if (column.figure && row.word === "gone") classes.push("old");
    }
    cell.className = classes.join(" ");
    const old = column.figure && row.word === "gone" ? "as last reported" : "";
    const tip = column.name === "host" ? `${row.host}, outbox ${row.outbox || "none"}` : column.tip ? column.tip(row) : text;
    cell.title = [tip, old].filter(Boolean).join("; ");
  });
}

function render() {
  const first = Math.max(0, Math.floor(view.scrollTop / ROW_HEIGHT) - SPARE_ROWS);
  const most = Math.ceil(view.clientHeight / ROW_HEIGHT) + 2 * SPARE_ROWS;
  const start = Math.min(first, Math.max(0, shown.length - most));
  const count = Math.min(most, shown.length - start);
  while (pool.length < count) pool.push(makeRow());
  for (let i = 0; i < count; i++) fill(pool[i], shown[start + i], start + i);
  before.firstChild.style.height = `${start * ROW_HEIGHT}px`;
  after.firstChild.style.height = `${(shown.length - start - count) * ROW_HEIGHT}px`;
  if (body.children.length !== count + 2) body.replaceChildren(before, ...pool.slice(0, count), after);
}

function space() {
  const row = document.createElement("tr");
  row.className = "space";
  row.setAttribute("aria-hidden", "true");
  row.appendChild(document.createElement("td")).colSpan = COLUMNS.length;
  return row;
}

const before = space();
const after = space();

// What people do

function change(changes) {
  wanted = { ...wanted, ...changes };
  view.scrollTop = 0;
  const kept = new URLSearchParams({ sort: (wanted.descending ? "-" : "") + wanted.sort });
  if (wanted.text) kept.set("filter", wanted.text);
  for (const state of wanted.states) kept.append("state", state);
  history.replaceState(null, "", `#${kept}`);
  arrange();
}

function recall() {
  const kept = new URLSearchParams(location.hash.slice(1));
  const sort = kept.get("sort") || "state";
  const name = sort.replace(/^-/, "");
  if (COLUMNS.some((column) => column.name === name)) {
    wanted.sort = name;
    wanted.descending = sort.startsWith("-");
  }
  wanted.text = kept.get("filter") || "";
  wanted.states = new Set(kept.getAll("state").filter((state) => ORDER.includes(state)));
  at("filter").value = wanted.text;
}

function build() {
  for (const column of COLUMNS) {
    const width = at("widths").appendChild(document.createElement("col"));
    width.className = column.name;
    width.style.width = `${column.width}px`;
    const cell = at("head").appendChild(document.createElement("th"));
    cell.scope = "col";
    if (column.numeric) cell.className = "number";
    const button = cell.appendChild(document.createElement("button"));
    button.type = "button";
    button.title = column.help;
    button.addEventListener("click", () => change(
      wanted.sort === column.name
        ? { descending: !wanted.descending }
        : { sort: column.name, descending: Boolean(column.down) }));
  }
  for (const state of ORDER) {
    const button = at("states").appendChild(document.createElement("button"));
    button.type = "button";
    button.dataset.state = state;
    const sign = button.appendChild(document.createElement("span"));
    sign.className = `sign ${state.replace(/[^a-z]+/g, "-")}`;
    sign.textContent = SIGNS[state];
    sign.setAttribute("aria-hidden", "true");
    button.append(`${state} `);
    button.appendChild(document.createElement("b"));
    button.addEventListener("click", () => {
      const states = new Set(wanted.states);
      if (!states.delete(state)) states.add(state);
      change({ states });
    });
  }
}

build();
recall();
head();
let isDue = false;
const soon = () => {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; render(); });
};
view.addEventListener("scroll", soon, { passive: true });
addEventListener("resize", soon);
at("filter").addEventListener("input", () => change({ text: at("filter").value }));
at("refresh").addEventListener("change", () => plan(0));
document.addEventListener("visibilitychange", () => plan(0));
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== at("filter")) {
    event.preventDefault();
    at("filter").select();
  }
});
read();
