const OLD_DAYS = 7;
function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}
function nameTheme() { $("theme").setAttribute("aria-pressed", String(isDark())); }
function sayAge() {
  const days = Math.floor((Date.now() - Date.parse(document.querySelector("time").dateTime)) / 86400000);
  if (days < OLD_DAYS) return;
  $("old").textContent = `This page is ${days} days old: the bucket may have changed. cache-store report writes a new one.`;
  $("old").hidden = false;
}
document.documentElement.classList.add("js");
$("theme").addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();
sayAge();
if ($("table")) {
  start_dialog();
  start_table();
}
