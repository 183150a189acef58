/* Keeps an open page as the server would make it now: its regions (`data-live`), its title, and what is said aloud. */

import { Connection } from "./connection.js";
import { morph } from "./morph.js";
import { Status } from "./status.js";
import "./find.js";

const FRESH_MS = 1_200;
const LEAST_REFRESH_MS = 5_000;
const OF_SCRIPTS = ["view", "from", "to"]; // what the server's page doesn't depend on

const main = document.getElementById("main");
let refreshedAt = 0;
let refreshing = null;

/* Names of the regions as they stand; one inside another is part of that one. */
function order() {
  return [...document.querySelectorAll("[data-live]")]
    .filter((element) => !element.parentElement.closest("[data-live]"))
    .map((element) => element.dataset.live);
}

function address(last) {
  const query = new URLSearchParams(location.search);
  for (const name of OF_SCRIPTS) query.delete(name);
  const page = location.pathname + (query.size ? `?${query}` : "");
  return `${main.dataset.events}?${new URLSearchParams({ page, ...(last && { last }) })}`;
}

function applied(changed) {
  for (const element of changed) {
    if (element.closest("[data-quiet]")) continue;
    element.classList.add("fresh");
    setTimeout(() => element.classList.remove("fresh"), FRESH_MS);
  }
  document.dispatchEvent(new CustomEvent("rtexp:changed", { detail: changed }));
}

function sayWhatTurned(before) {
  for (const element of document.querySelectorAll("[data-say]")) {
    const text = element.textContent.trim();
    if (before.has(element) && before.get(element) !== text) status.say(text);
  }
}

function change(update) {
  const before = new Map([...document.querySelectorAll("[data-say]")].map((e) => [e, e.textContent.trim()]));
  update();
  sayWhatTurned(before);
}

function apply(regions) {
  const shown = new Map([...document.querySelectorAll("[data-live]")].map((e) => [e.dataset.live, e]));
  const changed = new Set();
  for (const [name, html] of Object.entries(regions)) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    if (shown.has(name)) morph(shown.get(name), holder.content.firstElementChild, changed);
  }
  applied(changed);
}

/* Brings the whole page up to date, also what isn't a region. */
async function refresh() {
  refreshedAt = Date.now();
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const changed = new Set();
  change(() => {
    morph(main, page.getElementById("main"), changed);
    document.title = page.title;
    applied(changed);
  });
  status.order(false);
}

/* Shows another comparison of this page without leaving it; the stream is then about that one. */
export async function go(query) {
  history.replaceState(null, "", `${location.pathname}?${query}${location.hash}`);
  await refresh();
  connection?.look();
}

/* Rows don't move under anybody's pointer: where their order means something, people are asked first. */
function reorder(moved) {
  if (moved && main.dataset.order === "ask") return status.order(true);
  clearTimeout(refreshing);
  refreshing = setTimeout(refresh, Math.max(0, refreshedAt + LEAST_REFRESH_MS - Date.now()));
}

const alike = (some, others) => some.length === others.length && some.every((name, i) => name === others[i]);

function onEvent(kind, data) {
  if (kind === "beat") return;
  status.stale(data.stale_since_ms ?? null);
  if (data.title !== undefined) document.title = data.title;
  if (data.regions) change(() => apply(data.regions));
  if (data.order) {
    const [now, rows] = [order(), (names) => names.filter((name) => name.startsWith("row:"))];
    if (alike(data.order, now)) status.order(false);
    else reorder(!alike(rows(data.order), rows(now)));
  }
}

let status;
let connection;
if (document.querySelector("[data-live]")) {
  status = new Status({
    pause: () => connection.pause(),
    resume: () => connection.resume(),
    refresh: () => refresh(),
  });
  connection = new Connection(address, onEvent, (state) => status.connection(state, connection));
}
