"use strict";
(() => {
  const PAGE = 100;
  const data = JSON.parse(document.getElementById("data").textContent);
  const text = (index) => data.texts[index];
  const rows = data.rows.map((raw) => ({
    address: text(raw[0]), state: text(raw[1]), standing: text(raw[2]), model: text(raw[3]), gpu: text(raw[4]),
    version: text(raw[5]), engine: text(raw[6]), by: text(raw[7]), at: raw[8], size: raw[9], ranks: raw[10],
    entries: raw[11], took: raw[12], note: text(raw[13]), facts: raw[14],
  }));
  for (const row of rows) {
    row.hay = [row.address, row.model, row.gpu, row.engine, row.by, row.note, row.state].join("\n").toLowerCase();
  }
  const pad = (number) => String(number).padStart(2, "0");
  const when = (at) => {
    if (at === null) return "-";
    const day = new Date(at * 1000);
    return `${day.getUTCFullYear()}-${pad(day.getUTCMonth() + 1)}-${pad(day.getUTCDate())} ${pad(day.getUTCHours())}:${pad(day.getUTCMinutes())}`;
  };
  const size = (bytes) => {
    const units = ["B", "KiB", "MiB", "GiB"];
    let unit = 0;
    while (bytes >= 1024 && unit < 3) { bytes /= 1024; unit += 1; }
    return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
  };
  const seconds = (s) => (s >= 3600 ? `${Math.floor(s / 3600)}h${pad(Math.floor((s % 3600) / 60))}m` : s >= 60 ? `${Math.floor(s / 60)}m${pad(Math.floor(s % 60))}s` : `${Math.round(s)}s`);
  const cut = (words, length) => (words.length > length ? `${words.slice(0, length - 1)}\u2026` : words);
  const COLUMNS = [
    ["model", "Model", (row) => cut(row.model, 80), false],
    ["gpu", "GPU", (row) => cut(row.gpu, 40), false],
    ["version", "FlashInfer", (row) => row.version, false],
    ["state", "State", (row) => row.state, false],
    ["standing", "Coverage", (row) => (row.state === "published" ? row.standing : "-"), false],
    ["engine", "Engine", (row) => cut(row.engine || "-", 40), false],
    ["by", "Made by", (row) => cut(row.by || "-", 32), false],
    ["at", "Written (UTC)", (row) => when(row.at), false],
    ["took", "Tuned in", (row) => (row.took ? seconds(row.took) : "-"), true],
    ["entries", "Entries", (row) => (row.entries ? String(row.entries) : "-"), true],
    ["size", "Size", (row) => size(row.size), true],
  ];
  const $ = (id) => document.getElementById(id);
  const filters = { q: $("q"), state: $("f-state"), gpu: $("f-gpu"), version: $("f-version") };
  let sort = "at", descending = true, start = 0, found = [];

  function make(name, words, className) {
    const made = document.createElement(name);
    if (words !== undefined) made.textContent = words;
    if (className) made.className = className;
    return made;
  }
  function options(select, values) {
    for (const value of [...new Set(values)].sort()) {
      const one = make("option", value);
      one.value = value;
      select.append(one);
    }
  }
  function compare(left, right) {
    const a = left[sort], b = right[sort];
    const order = a === b ? 0 : a === null ? -1 : b === null ? 1 : a < b ? -1 : 1;
    return (descending ? -order : order) || (left.address < right.address ? -1 : 1);
  }
  function select() {
    const words = filters.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter((row) => words.every((word) => row.hay.includes(word))
      && (!filters.state.value || row.state === filters.state.value)
      && (!filters.gpu.value || row.gpu === filters.gpu.value)
      && (!filters.version.value || row.version === filters.version.value)).sort(compare);
  }
  function head() {
    const line = document.querySelector("#table thead tr");
    line.replaceChildren(...COLUMNS.map(([name, title, , isNumber]) => {
      const cell = make("th", undefined, isNumber ? "n" : "");
      cell.scope = "col";
      cell.setAttribute("aria-sort", name === sort ? (descending ? "descending" : "ascending") : "none");
      const button = make("button", title + (name === sort ? (descending ? " \u25be" : " \u25b4") : ""));
      button.type = "button";
      button.dataset.sort = name;
      cell.append(button);
      return cell;
    }));
  }
  function cell(row, [name, , show, isNumber], index) {
    const made = make(index ? "td" : "th", undefined, isNumber ? "n" : name === "at" ? "w" : "");
    if (!index) {
      made.scope = "row";
      const open = make("button", undefined, "open");
      open.type = "button";
      open.append(make("bdi", show(row)));
      open.addEventListener("click", () => look(row));
      made.append(open);
    } else if (name === "state" || (name === "standing" && row.state === "published")) {
      made.append(make("span", show(row), `state s-${row.standing}`));
    } else {
      made.append(make("bdi", show(row)));
    }
    return made;
  }
  function draw() {
    const shown = found.slice(start, start + PAGE);
    document.querySelector("#table tbody").replaceChildren(...shown.map((row) => {
      const line = make("tr");
      line.append(...COLUMNS.map((column, index) => cell(row, column, index)));
      return line;
    }));
    $("found").textContent = `${found.length} of ${rows.length}`;
    $("where").textContent = found.length ? `${start + 1} to ${Math.min(start + PAGE, found.length)}` : "nothing fits";
    $("before").disabled = start === 0;
    $("after").disabled = start + PAGE >= found.length;
  }
  function remember() {
    const kept = new URLSearchParams();
    for (const [name, control] of Object.entries(filters)) if (control.value) kept.set(name, control.value);
    if (sort !== "at" || !descending) kept.set("sort", (descending ? "-" : "") + sort);
    history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname + location.search);
  }
  function update() { start = 0; select(); head(); draw(); remember(); }
  function restore() {
    const kept = new URLSearchParams(location.hash.slice(1));
    for (const [name, control] of Object.entries(filters)) control.value = kept.get(name) || "";
    const wanted = (kept.get("sort") || "-at").replace(/^-/, "");
    if (COLUMNS.some(([name]) => name === wanted)) {
      sort = wanted;
      descending = (kept.get("sort") || "-at").startsWith("-");
    }
    start = 0; select(); head(); draw();
  }
  function look(row) {
    $("one-title").replaceChildren(make("bdi", row.model));
    const parts = [make("p", row.address, "mono")];
    if (row.note) parts.push(make("p", row.note));
    let section = null, list = null;
    for (let at = 0; at < row.facts.length; at += 3) {
      const [name, label, value] = [text(row.facts[at]), text(row.facts[at + 1]), text(row.facts[at + 2])];
      if (name !== section) {
        section = name;
        list = make("dl");
        parts.push(make("h3", name), list);
      }
      const shown = make("dd");
      shown.append(make("bdi", value));
      list.append(make("dt", label), shown);
    }
    $("one-facts").replaceChildren(...parts);
    $("one").showModal();
  }
  function isDark() {
    const theme = document.documentElement.dataset.theme;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function nameTheme() {
    $("theme").textContent = isDark() ? "Light" : "Dark";
    $("theme").setAttribute("aria-pressed", String(Boolean(document.documentElement.dataset.theme)));
  }
  options(filters.state, rows.map((row) => row.state));
  options(filters.gpu, rows.map((row) => row.gpu));
  options(filters.version, rows.map((row) => row.version));
  let later = 0;
  filters.q.addEventListener("input", () => { clearTimeout(later); later = setTimeout(update, 80); });
  for (const name of ["state", "gpu", "version"]) filters[name].addEventListener("change", update);
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); update(); });
  $("filters").addEventListener("reset", () => setTimeout(update));
  document.querySelector("#table thead").addEventListener("click", (event) => {
    const wanted = event.target.dataset.sort;
    if (!wanted) return;
    descending = wanted === sort ? !descending : ["at", "took", "entries", "size"].includes(wanted);
    sort = wanted;
    update();
    document.querySelector(`[data-sort="${wanted}"]`).focus();
  });
  document.querySelectorAll(".pick").forEach((button) => button.addEventListener("click", () => {
    filters.q.value = button.dataset.model;
    filters.gpu.value = button.dataset.gpu;
    if (filters.gpu.selectedIndex < 0) filters.gpu.value = "";
    update();
    $("inventory").scrollIntoView();
    $("inventory").focus({ preventScroll: true });
  }));
  $("before").addEventListener("click", () => { start = Math.max(0, start - PAGE); draw(); });
  $("after").addEventListener("click", () => { start += PAGE; draw(); });
  $("theme").addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  // the link that skips to the inventory asks for a place, and nothing of the filters
  addEventListener("hashchange", () => { if ($(location.hash.slice(1))) remember(); else restore(); });
  nameTheme();
  restore();
})();
