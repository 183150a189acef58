/* Finds experiments in the overview: `/` goes there, Escape shows all, Enter goes to the first that matches. */

const list = document.querySelector("[data-find]");

if (list) {
  const box = document.createElement("div");
  box.className = "find";
  box.dataset.own = "";
  const input = document.createElement("input");
  Object.assign(input, { type: "search", id: "find", placeholder: "Find (press /)", autocomplete: "off", maxLength: 200 });
  input.setAttribute("aria-label", "Find experiments");
  input.setAttribute("aria-keyshortcuts", "/");
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const all = document.createElement("button");
  all.type = "button";
  all.className = "btn";
  all.hidden = true;
  box.append(input, said, all);
  document.querySelector(".lead").append(box); // beside the headline, so that nothing below moves

  const rows = () => [...list.querySelectorAll("tbody tr[data-live]")];

  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows()) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    for (const part of list.querySelectorAll("tbody")) {
      part.hidden = words.length > 0 && !part.querySelector("tr[data-live]:not([hidden])");
    }
    const count = rows().length;
    const text = !words.length ? "" : shown ? `${shown} of ${count}` : "Nothing matches.";
    if (said.textContent !== text) said.textContent = text; // said aloud once
    all.textContent = `Show all ${count}`;
    all.hidden = !words.length;
  };

  const clear = () => {
    input.value = "";
    filter();
    input.focus();
  };

  input.addEventListener("input", filter);
  all.addEventListener("click", clear);
  document.addEventListener("rtexp:changed", filter);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") clear();
    if (event.key === "Enter") list.querySelector("tr[data-live]:not([hidden]) a")?.focus();
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
}
