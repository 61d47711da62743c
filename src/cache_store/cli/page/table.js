// The inventory: filters, the table, its pages, and the address that keeps them.
const PAGE = 100;
const PRINTED = 2000;
const COLUMNS = [
  ["model", "Model", (row) => cut(row.model, 80)],
  ["gpu", "GPU", (row) => cut(shortGpu(row.gpu), 40)],
  ["version", "FlashInfer", (row) => row.version],
  ["state", "State", (row) => row.state],
  ["coverage", "Coverage", (row) => coverageOf(row)],
  ["engine", "Engine", (row) => cut(row.engine, 40)],
  ["by", "Made by", (row) => cut(row.by, 48)],
  ["at", "Written (UTC)", (row) => row.at],
  ["took", "Tuned in", (row) => row.tookText],
  ["entries", "Entries", (row) => (row.entries ? String(row.entries) : "")],
  ["size", "Size", (row) => row.sizeText],
];
const controls = { q: $("q") };
for (const name of Object.keys(FILTERS)) controls[name] = $(`f-${name}`);
let sort = "at", descending = true, start = 0, found = [], opened = "";

function options(select, values, show) {
  const several = [...new Set(values)].filter(Boolean).sort(collator.compare);
  for (const value of several) {
    const one = make("option", cut(show ? show(value) : value, 80));
    one.value = value;
    select.append(one);
  }
}
// a link may name what this bucket does not have: it is shown, and nothing fits
function choose(select, value) {
  select.querySelectorAll("[data-absent]").forEach((one) => one.remove());
  select.value = value;
  if (select.value === value) return;
  const one = make("option", `${cut(value, 60)} (not here)`);
  one.value = value;
  one.disabled = true;
  one.dataset.absent = "";
  select.append(one);
  select.value = value;
}
function select() {
  const asked = Object.entries(FILTERS).filter(([name]) => controls[name].value);
  const some = searched(controls.q.value).filter((row) => asked.every(([name, fits]) => fits(row, controls[name].value)));
  found = sorted(some, sort, descending);
}
function head() {
  const line = document.querySelector("#table thead tr");
  line.replaceChildren(...COLUMNS.map(([name, title]) => {
    const cell = make("th", undefined, NUMBERS.has(name) ? "n" : "");
    cell.scope = "col";
    cell.setAttribute("aria-sort", name === sort ? (descending ? "descending" : "ascending") : "none");
    const button = make("button", title);
    button.type = "button";
    button.dataset.sort = name;
    if (name === sort) {
      const glyph = make("span", descending ? " \u25be" : " \u25b4");
      glyph.setAttribute("aria-hidden", "true");
      button.append(glyph);
    }
    cell.append(button);
    return cell;
  }));
}
function badge(words, kind) {
  return make("span", words, `state s-${slug(kind)}`);
}
function cell(row, [name, , show], index) {
  const made = make(index ? "td" : "th", undefined, `${NUMBERS.has(name) ? "n" : ""} c-${name}`.trim());
  const words = show(row);
  if (row[name] !== words && typeof row[name] === "string") made.title = cut(row[name], 300);
  if (!index) {
    made.scope = "row";
    const open = make("button", undefined, "open");
    open.type = "button";
    open.append(make("bdi", words));
    open.addEventListener("click", () => show_details(row.address));
    made.append(open);
  } else if (name === "state") {
    made.append(badge(row.state, row.state));
    if (row.claim) made.append(" ", badge(row.claim, row.claim));
  } else if (name === "coverage" && words) {
    made.append(badge(words, row.coverage));
  } else if (words) {
    made.append(make("bdi", words));
  } else {
    const dash = make("span", "-");
    dash.setAttribute("aria-hidden", "true");
    made.append(dash, make("span", "none", "hidden"));
  }
  return made;
}
function fill(shown) {
  document.querySelector("#table tbody").replaceChildren(...shown.map((row) => {
    const line = make("tr");
    line.append(...COLUMNS.map((column, index) => cell(row, column, index)));
    return line;
  }));
}
const last = () => Math.max(0, Math.ceil(found.length / PAGE) - 1) * PAGE;
function draw() {
  start = Math.min(start, last());
  fill(found.slice(start, start + PAGE));
  const which = found.length > PAGE ? `, ${(start + 1).toLocaleString("en")} to ${Math.min(start + PAGE, found.length).toLocaleString("en")} shown` : "";
  $("found").textContent = `${found.length.toLocaleString("en")} of ${plural(rows.length, "bundle")}${which}`;
  for (const button of document.querySelectorAll(".pager button")) {
    // disabled, it would lose the focus of who has just pressed it
    button.setAttribute("aria-disabled", String(button.dataset.forward ? start === last() : start === 0));
  }
  for (const pager of document.querySelectorAll(".pager")) pager.hidden = found.length <= PAGE;
  for (const where of document.querySelectorAll(".pager .where")) {
    where.textContent = `page ${start / PAGE + 1} of ${last() / PAGE + 1}`;
  }
}
function remember() {
  const kept = new URLSearchParams();
  for (const [name, control] of Object.entries(controls)) if (control.value) kept.set(name, control.value);
  if (sort !== "at" || !descending) kept.set("sort", (descending ? "-" : "") + sort);
  if (start) kept.set("page", String(start / PAGE + 1));
  if (opened) kept.set("at", opened);
  const fragment = kept.toString();
  try {
    history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
  } catch {
    // a page inside another one (srcdoc) has no address to keep it in
  }
}
function update() { start = 0; select(); head(); draw(); remember(); }
function restore() {
  const kept = new URLSearchParams(location.hash.slice(1));
  const at = kept.get("at") || "";
  // a link to one bundle asks nothing of the table
  if (!(at && kept.size === 1 && found.length)) {
    controls.q.value = kept.get("q") || "";
    for (const name of Object.keys(FILTERS)) choose(controls[name], kept.get(name) || "");
    const wanted = kept.get("sort") || "-at";
    if (COLUMNS.some(([name]) => name === wanted.replace(/^-/, ""))) {
      sort = wanted.replace(/^-/, "");
      descending = wanted.startsWith("-");
    }
    select();
    start = Math.min(last(), Math.max(0, (parseInt(kept.get("page"), 10) || 1) - 1) * PAGE);
    head();
    draw();
  }
  if (at) show_details(at); else $("one").close();
}
function turn(to) {
  start = Math.max(0, Math.min(last(), to));
  draw();
  remember();
  $("box").scrollTop = 0;
  if ($("found").getBoundingClientRect().top < 0) $("found").scrollIntoView();
}
function pagers() {
  const steps = [["First", "", () => 0], ["Previous", "", () => start - PAGE], ["Next", "1", () => start + PAGE], ["Last", "1", last]];
  for (const pager of document.querySelectorAll(".pager")) {
    const buttons = steps.map(([words, forward, to]) => {
      const button = make("button", words);
      button.type = "button";
      button.dataset.forward = forward;
      button.addEventListener("click", () => { if (button.getAttribute("aria-disabled") !== "true") turn(to()); });
      return button;
    });
    pager.append(buttons[0], buttons[1], make("span", "", "where"), buttons[2], buttons[3]);
  }
}
// a cell of the heat map is a button only where there is a table for it to lead to
function pick(cell) {
  const model = mapModels[cell.dataset.model], gpu = mapGpus[cell.dataset.gpu] ?? data.others;
  const button = make("button", undefined, "pick");
  button.type = "button";
  button.append(...cell.childNodes);
  const count = Number(cell.dataset.total);
  const says = [...button.querySelectorAll("b, small")].map((one) => one.textContent).join("; ");
  button.setAttribute("aria-label", `${cut(model, 100)} on ${cut(shortGpu(gpu), 60)}: ${says}. Show ${plural(count, "row")}`);
  button.addEventListener("click", () => {
    controls.q.value = "";
    for (const name of Object.keys(FILTERS)) choose(controls[name], "");
    choose(controls.model, model);
    choose(controls.gpu, gpu);
    update();
    $("inventory").scrollIntoView();
    $("inventory").focus({ preventScroll: true });
  });
  cell.append(button);
}
function print() {
  const asked = Object.entries(controls).filter(([, control]) => control.value)
    .map(([name, control]) => `${name === "q" ? "search" : name} "${cut(control.value, 80)}"`);
  const shown = found.slice(0, PRINTED);
  $("printed").textContent = `${shown.length === found.length ? "" : `The first ${shown.length.toLocaleString("en")} of `}${plural(found.length, "bundle")}`
    + ` of ${rows.length.toLocaleString("en")} in all. Filter: ${asked.join(", ") || "none"}.`;
  fill(shown);
}
function start_table() {
  for (const name of Object.keys(FILTERS)) {
    options(controls[name], rows.map((row) => row[name]).concat(name === "state" ? rows.map((row) => row.claim) : []), name === "gpu" ? shortGpu : null);
  }
  if (rows.some((row) => !mapGpuSet.has(row.gpu)) && !rows.some((row) => row.gpu === data.others)) options(controls.gpu, [data.others]);
  pagers();
  let later = 0;
  controls.q.addEventListener("input", () => { clearTimeout(later); later = setTimeout(update, 80); });
  for (const name of Object.keys(FILTERS)) controls[name].addEventListener("change", update);
  $("filters").addEventListener("submit", (event) => { event.preventDefault(); update(); });
  $("filters").addEventListener("reset", () => setTimeout(update));
  document.querySelector("#table thead").addEventListener("click", (event) => {
    const wanted = event.target.closest("[data-sort]")?.dataset.sort;
    if (!wanted) return;
    descending = wanted === sort ? !descending : wanted === "at" || NUMBERS.has(wanted);
    sort = wanted;
    update();
    document.querySelector(`[data-sort="${wanted}"]`).focus();
  });
  document.querySelectorAll(".map td[data-model]").forEach(pick);
  addEventListener("beforeprint", print);
  addEventListener("afterprint", draw);
  // the links that lead to a part of the page ask for a place, and nothing of the filters
  addEventListener("hashchange", () => { if ($(location.hash.slice(1))) remember(); else restore(); });
  restore();
}
