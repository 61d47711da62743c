// The rows, and which of them are asked for. The order of a row's parts is that of page_data.py.
const data = JSON.parse(document.getElementById("data").textContent);
const texts = data.texts;
const TEXTS = ["address", "state", "claim", "coverage", "model", "gpu", "version", "engine", "by", "at", "note"];
// words of a state or a coverage are found by their beginning: "complete" must not find what is incomplete
const WORDED = new Set(["state", "claim", "coverage"]);
// what `ls` and people call them
const ALSO = {
  retired: "tombstone", "being tuned": "tuning claimed-only", stale: "claimed-only", failed: "claimed-only",
  claimed: "claimed-only", "left behind": "orphaned",
};
const rows = data.rows.map((raw) => {
  const row = {};
  TEXTS.forEach((name, index) => { row[name] = texts[raw[index]]; });
  [row.size, , row.took, , row.entries, row.percent, row.facts] = raw.slice(11);
  row.sizeText = texts[raw[12]];
  row.tookText = texts[raw[14]];
  row.raw = raw;
  return row;
});
const byAddress = new Map(rows.map((row) => [row.address, row]));
const mapModels = data.map.models.map((index) => texts[index]);
const mapGpus = data.map.gpus.map((index) => texts[index]);
const mapGpuSet = new Set(mapGpus);
const collator = new Intl.Collator("en", { numeric: true });
const $ = (id) => document.getElementById(id);

function make(name, words, className) {
  const made = document.createElement(name);
  if (words !== undefined) made.textContent = words;
  if (className) made.className = className;
  return made;
}
const cut = (words, length) => (words.length > length ? `${words.slice(0, length - 1)}\u2026` : words);
const shortGpu = (name) => name.replace(/^NVIDIA (?=.)/, "");
const slug = (words) => words.replaceAll(" ", "-");
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const coverageOf = (row) => (row.percent >= 0 && row.percent < 100 ? `${row.coverage} ${row.percent} %` : row.coverage);

let lowered = null;
function wordsOf(query) {
  const store = data.store.toLowerCase();
  return query.toLowerCase().split(/\s+/).map((word) => {
    const bare = word.replace(/^["',]+|["',]+$/g, "");
    return (bare.startsWith(store) ? bare.slice(store.length) : bare)
      .replace(/^\/+/, "").replace(/\/(bundle|claim)\.json$/, "").replace(/(.)\/+$/, "$1");
  }).filter(Boolean);
}
// each text is looked at once a word, however many rows have it
function searched(query) {
  const words = wordsOf(query);
  if (!words.length) return rows;
  if (!lowered) {
    lowered = texts.map((one) => one.toLowerCase());
    for (const row of rows) {
      const seen = TEXTS.map((name, index) => (WORDED.has(name) ? -1 : row.raw[index])).filter((index) => index >= 0);
      for (let at = 1; at < row.facts.length; at += 2) seen.push(row.facts[at]);
      row.seen = seen;
      row.words = [row.state, row.claim, row.coverage, ALSO[row.state] || ""].join(" ").split(" ");
    }
  }
  let left = rows;
  for (const word of words) {
    const hits = lowered.map((one) => one.includes(word));
    left = left.filter((row) => row.seen.some((index) => hits[index]) || row.words.some((one) => one.startsWith(word)));
  }
  return left;
}

const FILTERS = {
  state: (row, value) => row.state === value || row.claim === value,
  coverage: (row, value) => row.coverage === value,
  model: (row, value) => row.model === value,
  gpu: (row, value) => (value === data.others ? !mapGpuSet.has(row.gpu) : row.gpu === value),
  version: (row, value) => row.version === value,
  engine: (row, value) => row.engine === value,
};
const NUMBERS = new Set(["took", "entries", "size", "percent"]);
const ranks = {};
// texts are compared once, and then by their place
function rankOf(name) {
  if (!ranks[name]) {
    const values = [...new Set(rows.map((row) => row[name]))];
    values.sort(name === "state" ? (a, b) => data.states.indexOf(a) - data.states.indexOf(b) : collator.compare);
    ranks[name] = new Map(values.map((value, index) => [value, index]));
  }
  return ranks[name];
}
// what is not known comes last either way
function sorted(some, name, descending) {
  const rank = NUMBERS.has(name) ? null : rankOf(name);
  const isKnown = (row) => (NUMBERS.has(name) ? row[name] > 0 : row[name] !== "");
  return [...some].sort((left, right) => {
    const known = isKnown(right) - isKnown(left);
    if (known) return known;
    const order = rank ? rank.get(left[name]) - rank.get(right[name]) : left[name] - right[name];
    return (descending ? -order : order) || (left.address < right.address ? -1 : 1);
  });
}
