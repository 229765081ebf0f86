// A page of charts: its data and its charts' descriptions are in the element "content"; Vega draws.
// Filters choose rows; everything else is computed from the rows that are left, here for the tiles, by Vega for charts.
"use strict";

const content = JSON.parse(document.getElementById("content").textContent);
const form = document.getElementById("filters");
const MILLISECONDS_A_DAY = 86400000;
const MOST_NUMBERS = 500; // rows of a table that are shown; all are in its CSV

// ---- data

// A list of objects for each dataset.
const rowsOf = Object.fromEntries(Object.entries(content.datasets).map(([name, dataset]) => {
  const columns = Object.entries(dataset.columns);
  const length = columns.length ? (columns[0][1].places || columns[0][1].values).length : 0;
  const rows = Array.from({ length }, () => ({}));
  for (const [column, { values, places }] of columns) {
    rows.forEach((row, index) => { row[column] = places ? values[places[index]] : values[index]; });
  }
  return [name, rows];
}));

const filters = content.filters.map((filter) => filter.column);

// The first day of a day's month, which is how months are written.
const monthOf = (day) => `${day.slice(0, 7)}-01`;

function chosen(name, from = state.first, to = state.last) {
  const { day, kinds } = content.datasets[name];
  const wanted = filters.filter((column) => column in kinds && state[column]);
  const monthly = kinds[day] === "month";
  const [least, most] = monthly && from ? [monthOf(from), monthOf(to)] : [from, to];
  return rowsOf[name].filter((row) =>
    (!day || !from || (row[day] >= least && row[day] <= most)) &&
    wanted.every((column) => String(row[column]) === state[column]));
}

// ---- what is chosen: in the form, and in the address, so that it can be sent to somebody

const state = {};

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const field of form.elements) {
    if (!field.name) continue;
    const wanted = given.get(field.name);
    const options = field.options && Array.from(field.options, (option) => option.value);
    const valid = wanted !== null && (options ? options.includes(wanted) : /^\d{4}-\d\d-\d\d$/.test(wanted));
    field.value = valid ? wanted : field.defaultValue || "";
    state[field.name] = field.value;
  }
}

function readForm() {
  for (const field of form.elements) {
    if (field.name) state[field.name] = field.value || field.defaultValue || "";
  }
  if (state.first > state.last) [state.first, state.last] = [state.last, state.first];
  if (form.elements.first) [form.elements.first.value, form.elements.last.value] = [state.first, state.last];
  const told = new URLSearchParams();
  for (const field of form.elements) {
    if (field.name && state[field.name] !== (field.defaultValue || "")) told.set(field.name, state[field.name]);
  }
  history.replaceState(null, "", told.size ? `#${told}` : location.pathname + location.search);
}

const dayNumber = (day) => Date.parse(`${day}T00:00:00Z`) / MILLISECONDS_A_DAY;
const dayText = (number) => new Date(number * MILLISECONDS_A_DAY).toISOString().slice(0, 10);

// ---- numbers as text

const digits = { count: [0, 0], number: [2, 2], money: [2, 2], seconds: [1, 1] };

function shown(value, kind) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (kind === "share") return value.toLocaleString("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
  if (kind === "day") return typeof value === "string" ? value : new Date(value).toISOString().slice(0, 10);
  if (kind === "month") return shown(value, "day").slice(0, 7);
  if (kind === "flag") return value ? "yes" : "no";
  if (kind in digits) {
    const [least, most] = digits[kind];
    return value.toLocaleString("en", { minimumFractionDigits: least, maximumFractionDigits: most });
  }
  return String(value);
}

// ---- tiles

// In hundredths, so that a sum of amounts is right to the cent.
function sum(rows, column, kind) {
  const unit = kind === "money" ? 100 : 1;
  const total = rows.reduce((sofar, row) => sofar + (unit === 1 ? row[column] || 0 : Math.round((row[column] || 0) * unit)), 0);
  return total / unit;
}

function figure(tile, rows) {
  const { day, kinds } = content.datasets[tile.dataset];
  if (!rows.length) return null;
  if (tile.op === "ratio") {
    const below = sum(rows, tile.over, kinds[tile.over]);
    return below ? sum(rows, tile.measure, kinds[tile.measure]) / below : null;
  }
  if (tile.op !== "mean") return sum(rows, tile.measure, kinds[tile.measure]);
  const told = rows.filter((row) => row[tile.measure] !== null); // a day without a value is no day of 0
  return told.length ? sum(told, tile.measure, kinds[tile.measure]) / new Set(told.map((row) => row[day])).size : null;
}

function change(tile, value) {
  const { day, kinds } = content.datasets[tile.dataset];
  // The newest month is seldom over: the months before it would look better than they were.
  if (!day || kinds[day] === "month" || !state.first || value === null) return "";
  const days = dayNumber(state.last) - dayNumber(state.first) + 1;
  const [from, to] = [dayText(dayNumber(state.first) - days), dayText(dayNumber(state.first) - 1)];
  // Days that other tables of the page have and this one has not would be days of 0.
  const has = (test) => rowsOf[tile.dataset].some((row) => test(row[day]));
  if (!has((one) => one <= from) || !has((one) => one >= state.last)) return "";
  const before = figure(tile, chosen(tile.dataset, from, to));
  if (!before) return "";
  const part = (value - before) / Math.abs(before);
  const sign = part > 0 ? "▲ +" : part < 0 ? "▼ " : "";
  return `${sign}${shown(part, "share")} on the ${days} days before`;
}

function drawTiles() {
  content.tiles.forEach((tile, index) => {
    const card = document.getElementById(`tile-${index}`);
    const value = figure(tile, chosen(tile.dataset));
    const figureCell = card.querySelector(".value");
    figureCell.textContent = shown(value, tile.kind);
    figureCell.style.setProperty("--letters", figureCell.textContent.length);
    card.querySelector(".change").textContent = change(tile, value);
  });
}

// ---- charts

const dark = matchMedia("(prefers-color-scheme: dark)");
const views = new Map();

// Vega's warnings tell of our mistakes, but for one: it says that where bars have their own height only widths fit.
const warn = console.warn.bind(console);
console.warn = (...said) => { if (!said.join(" ").includes('Dropping "fit-y"')) warn(...said); };

// Vega writes into the rows that it is given.
const copies = (rows) => rows.map((row) => ({ ...row }));

async function draw(chart) {
  const card = document.getElementById(`chart-${chart.name}`);
  const rows = chosen(chart.dataset);
  card.querySelector(".empty").hidden = rows.length > 0;
  const { kinds, day } = content.datasets[chart.dataset];
  const deaf = content.filters.filter((filter) => state[filter.column] && !(filter.column in kinds)).map((filter) => filter.title);
  const narrowed = form.elements.first && (state.first !== form.elements.first.defaultValue || state.last !== form.elements.last.defaultValue);
  if (!day && narrowed) deaf.unshift("dates");
  const said = deaf.length ? [`Not filtered by: ${deaf.join(", ")}.`] : [];
  if (kinds[day] === "month" && narrowed && !form.querySelector("[data-months]")) {
    said.push(`Whole months, ${state.first.slice(0, 7)} to ${state.last.slice(0, 7)}.`);
  }
  const ignored = card.querySelector(".ignored");
  ignored.textContent = said.join(" ");
  ignored.hidden = !said.length;
  if (chart.spec) {
    const place = card.querySelector(".drawn");
    place.hidden = !rows.length;
    if (!rows.length) {
      // nothing is drawn of nothing: an empty chart has axes of its own invention
    } else if (views.has(chart.name)) {
      const { view } = views.get(chart.name);
      await view.data(chart.dataset, copies(rows)).runAsync();
    } else {
      const spec = { ...chart.spec, datasets: { [chart.dataset]: copies(rows) } };
      const mode = dark.matches ? "dark" : "light";
      views.set(chart.name, await vegaEmbed(place, spec, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: content.configs[mode], tooltip: { theme: mode },
      }));
    }
  }
  const details = card.querySelector("details");
  if (!details || details.open) writeNumbers(chart, card);
}

// The rows that are drawn: those of the first mark that has data.
function drawnRows(chart) {
  const rows = chosen(chart.dataset);
  if (!chart.spec) return chart.by.length ? totals(chart, rows) : rows;
  if (!rows.length || !views.has(chart.name)) return [];
  const { view, vgSpec } = views.get(chart.name);
  const source = (marks) => marks.map((mark) =>
    mark.from?.data || mark.from?.facet?.data || (mark.marks && source(mark.marks))).find(Boolean);
  const found = [...view.data(source(vgSpec.marks))];
  const time = chart.shown.find((column) => column.kind === "day" || column.kind === "month");
  if (time) return found.sort((a, b) => b[time.field] - a[time.field]);
  return found.length && "_place" in found[0] ? found.sort((a, b) => a._place - b._place) : found;
}

// One row for each group, with sums, in the order of the groups.
function totals(chart, rows) {
  const { kinds } = content.datasets[chart.dataset];
  const measures = chart.shown.map(({ field }) => field).filter((field) => !chart.by.includes(field));
  const groups = new Map();
  for (const row of rows) {
    const group = JSON.stringify(chart.by.map((column) => row[column]));
    if (groups.has(group)) groups.get(group).push(row);
    else groups.set(group, [row]);
  }
  return [...groups.keys()].sort().map((name) => groups.get(name)).map((group) => ({
    ...group[0], ...Object.fromEntries(measures.map((field) => [field, sum(group, field, kinds[field])])),
  }));
}

function writeNumbers(chart, card) {
  const rows = drawnRows(chart);
  const figures = new Set(["count", "number", "money", "share", "seconds"]);
  const table = document.createElement("table");
  const caption = table.createCaption();
  caption.textContent = rows.length > MOST_NUMBERS ? `The first ${MOST_NUMBERS} of ${rows.length} rows.` : "";
  const head = table.createTHead().insertRow();
  for (const { title, kind } of chart.shown) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = title;
    if (figures.has(kind)) cell.className = "figure";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of rows.slice(0, MOST_NUMBERS)) {
    const line = body.insertRow();
    for (const { field, kind } of chart.shown) {
      const cell = line.insertCell();
      cell.textContent = shown(row[field], kind);
      if (figures.has(kind)) cell.className = "figure";
    }
  }
  const download = document.createElement("button");
  download.type = "button";
  download.textContent = "Download as CSV";
  download.addEventListener("click", () => save(chart, rows));
  card.querySelector(".numbers").replaceChildren(table, download);
}

// A text that a spreadsheet would take for a formula gets an apostrophe in front.
function cellOf(value, kind) {
  if (value === null || value === undefined) return "";
  const date = kind === "day" || kind === "month";
  let text = date ? shown(value, kind) : kind === "money" ? value.toFixed(2) : String(value);
  if (kind === "text" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(chart, rows) {
  const lines = [chart.shown.map(({ title }) => cellOf(title, "text")),
    ...rows.map((row) => chart.shown.map(({ field, kind }) => cellOf(row[field], kind)))];
  const blob = new Blob([`${lines.map((line) => line.join(",")).join("\r\n")}\r\n`], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${chart.name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// ---- together

let waiting = Promise.resolve();

function drawAll() {
  document.documentElement.dataset.state = "drawing";
  const turn = waiting.then(async () => {
    drawTiles();
    for (const chart of content.charts) await draw(chart);
    if (state.first) {
      const days = dayNumber(state.last) - dayNumber(state.first) + 1;
      const monthly = form.querySelector("[data-months]");
      document.getElementById("said").textContent = monthly ? `Whole months, ${state.first.slice(0, 7)} to ${state.last.slice(0, 7)}` : days === 1 ? state.first : `${days.toLocaleString("en")} days`;
    }
    if (turn === waiting) document.documentElement.dataset.state = "ready";
  });
  waiting = turn;
}

function offerChoices() {
  for (const { column } of content.filters) {
    const values = new Set();
    for (const [name, dataset] of Object.entries(content.datasets)) {
      if (column in dataset.kinds) rowsOf[name].forEach((row) => { if (row[column] !== null) values.add(String(row[column])); });
    }
    form.elements[column].append(...[...values].sort().map((value) => new Option(value, value)));
  }
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => { readForm(); drawAll(); });
for (const button of form.querySelectorAll("button[data-days]")) {
  button.addEventListener("click", () => {
    const { first, last } = form.elements;
    const days = Number(button.dataset.days);
    last.value = last.defaultValue;
    first.value = days ? dayText(Math.max(dayNumber(last.value) - days + 1, dayNumber(first.defaultValue))) : first.defaultValue;
    readForm();
    drawAll();
  });
}
for (const button of form.querySelectorAll("button[data-months]")) {
  button.addEventListener("click", () => {
    const { first, last } = form.elements;
    const months = Number(button.dataset.months);
    last.value = last.defaultValue;
    const [year, month] = last.value.split("-").map(Number);
    const from = new Date(Date.UTC(year, month - months, 1)).toISOString().slice(0, 10);
    first.value = months && from > first.defaultValue ? from : first.defaultValue;
    readForm();
    drawAll();
  });
}
for (const chart of content.charts) {
  const card = document.getElementById(`chart-${chart.name}`);
  card.querySelector("details")?.addEventListener("toggle", (event) => { if (event.target.open) writeNumbers(chart, card); });
}
addEventListener("hashchange", () => { readAddress(); drawAll(); });
dark.addEventListener("change", () => {
  for (const { finalize } of views.values()) finalize();
  views.clear();
  drawAll();
});

offerChoices();
readAddress();
drawAll();
