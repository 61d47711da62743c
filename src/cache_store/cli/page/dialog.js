// All that is known of one bundle, with an address of its own (#at=...).
function copied(button, code) {
  const said = (words) => { button.textContent = words; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
  const by_hand = () => {
    getSelection().selectAllChildren(code);
    said(document.execCommand("copy") ? "Copied" : "Press Ctrl-C");
  };
  if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(() => said("Copied"), by_hand); else by_hand();
}
function to_copy(label, words) {
  const line = make("div", undefined, "copy");
  const code = make("code", words);
  const button = make("button", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy: ${label}`);
  button.addEventListener("click", () => copied(button, code));
  line.append(make("span", label), code, button);
  return line;
}
function list_of(pairs) {
  const list = make("dl");
  for (const [label, value] of pairs) {
    const shown = make("dd");
    shown.append(make("bdi", value));
    list.append(make("dt", label), shown);
  }
  return list;
}
function commands_of(row) {
  const command = (name) => data.commands[name][0] + row.address + data.commands[name][1];
  const states = [row.state, row.claim];
  const has_register = ["published", "retired", "quarantined", "unreadable"].includes(row.state);
  const told = [
    ["Address", row.address],
    ["Object", `${data.store}${row.address}/${has_register ? "bundle" : "claim"}.json`],
    ["See all of it", command("show")],
  ];
  if (row.state === "unreadable") told.push(["See what is wrong", command("verify")]);
  if (states.includes("stale") || states.includes("failed")) told.push(["Let somebody tune at once", command("unlock")]);
  if (row.state === "retired") told.push(["Put it back", command("restore")]);
  if (row.state === "quarantined") told.push(["Put it back", command("release")]);
  return told;
}
function facts_of(row) {
  const parts = [];
  let section = null, pairs = [];
  const close = () => { if (pairs.length) parts.push(make("h3", section), list_of(pairs)); };
  for (let at = 0; at < row.facts.length; at += 2) {
    const [name, label] = texts[row.facts[at]].split("\n");
    if (name !== section) { close(); section = name; pairs = []; }
    pairs.push([label, texts[row.facts[at + 1]]]);
  }
  close();
  return parts;
}
function show_details(address) {
  const row = byAddress.get(address);
  opened = address;
  if (!row) {
    $("one-title").textContent = "Not in this report";
    $("one-facts").replaceChildren(make("p", cut(address, 300), "mono"), make("p", "Nothing was at this address when the report was written."));
  } else {
    $("one-title").replaceChildren(make("bdi", cut(row.model, 300)));
    const pairs = [
      ["State", [row.state, row.claim].filter(Boolean).join(", ")], ["Why", row.note], ["Coverage", coverageOf(row)],
      ["GPU", row.gpu], ["FlashInfer", row.version], ["Engine", row.engine], ["Made by", row.by],
      ["Written (UTC)", row.at], ["Size in the store", row.sizeText], ["Tuned in", row.tookText],
    ].filter(([, value]) => value);
    const commands = commands_of(row).map(([label, words]) => to_copy(label, words));
    $("one-facts").replaceChildren(list_of(pairs), make("h3", "To copy"), ...commands, ...facts_of(row));
  }
  if (!$("one").open) $("one").showModal();
  $("one").scrollTop = 0;
  remember();
}
function start_dialog() {
  const dialog = $("one");
  dialog.addEventListener("close", () => { opened = ""; remember(); });
  dialog.addEventListener("click", (event) => {
    const edge = dialog.getBoundingClientRect();
    const is_inside = event.clientX >= edge.left && event.clientX <= edge.right && event.clientY >= edge.top && event.clientY <= edge.bottom;
    // a key that presses a button clicks at 0, 0
    if (event.target === dialog && !is_inside) dialog.close();
  });
}
