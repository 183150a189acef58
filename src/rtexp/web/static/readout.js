/* What the charts say at one bucket, beside them and never over them; and the same numbers as a table. */

import * as numbers from "./numbers.js";

export function cell(name, text, attributes = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

export function row(head, ...texts) {
  const line = document.createElement("tr");
  line.append(cell("th", head, { scope: "row" }), ...texts.map((text) => cell("td", text, { class: "n" })));
  return line;
}

/* The line that a group has in the charts. */
export function swatch(curves, group) {
  const at = curves.groups.filter((each) => !each.control).indexOf(group);
  return cell("span", "", { class: `swatch ${group.control ? "control" : `t${at % 3}`}`, "aria-hidden": "true" });
}

export function head(...texts) {
  const line = document.createElement("tr");
  line.append(...texts.map((text, i) => cell("th", text, { scope: "col", ...(i && { class: "n" }) })));
  const thead = document.createElement("thead");
  thead.append(line);
  return thead;
}

const done = (curves) => (curves.metric === "propensity" ? "Actors" : "Actions");
const value = (curves) => (curves.metric === "propensity" ? "Propensity" : "Per user");

/* One sentence of the bucket, for the cursor's spoken value and the charts' labels. */
export function sentence(curves, { view }, index) {
  const said = curves.groups.map((group) =>
    view === "bucket"
      ? `${group.group_name} ${numbers.count(group.increments[index])}`
      : `${group.group_name} ${numbers.mean(group.mean[index], curves.metric)}`,
  );
  const what = view === "bucket" ? `${done(curves).toLowerCase()} of this bucket` : "since the ramp";
  return `Hour ${numbers.hours(curves.hours[index])}, ${curves.event} ${curves.metric}, ${what}: ${said.join(", ")}`;
}

/* Fills the table of one bucket and the line below it. */
export function fill(table, note, curves, { view, chosen, role, withheld }, index) {
  const rows = curves.groups.map((group) =>
    view === "bucket"
      ? row(group.group_name, numbers.count(group.exposures[index]), numbers.count(group.increments[index]))
      : row(
          group.group_name,
          numbers.count(group.users[index]),
          numbers.count(group.sums[index]),
          numbers.banded(group.mean[index], group.half_width[index], curves.metric),
        ),
  );
  const titles = view === "bucket" ? ["Group", "New users", done(curves)] : ["Group", "Users", done(curves), value(curves)];
  rows.forEach((line, i) => line.firstChild.prepend(swatch(curves, curves.groups[i])));
  const body = document.createElement("tbody");
  body.append(...rows);
  table.replaceChildren(head(...titles), body);
  note.textContent = [
    withheld
      ? "The lift is withheld: such groups can't be compared."
      : `Lift of ${chosen} since the ramp ${numbers.lift(curves.lift(chosen, index))}.`,
    inForce(curves, chosen, role, curves.hours[index]),
  ].join(" ");
}

/* Nobody is to test between looks: it is the newest look that holds. */
function inForce(curves, chosen, role, hour) {
  const look = curves.lookAt(chosen, role, hour);
  if (!look) return "No look was evaluated by then.";
  if (look.boundary === null) return `Look ${look.look} was not tested.`;
  const sign = role === "guardrail" ? "" : "\u00b1";
  const crossed = look.crossed !== null && look.crossed <= look.look ? `; crossed at look ${look.crossed}` : "";
  return `Look ${look.look} is in force: Z ${numbers.z(look.z)} against ${sign}${numbers.z(look.boundary)}${crossed}.`;
}

export function allBuckets(table, curves, { view }) {
  const groups = curves.groups;
  const titles = groups.flatMap(({ group_name: name }) =>
    view === "bucket" ? [`${name}: new users`, `${name}: ${done(curves).toLowerCase()}`] : [`${name}: users`, `${name}: ${value(curves).toLowerCase()}`],
  );
  const body = document.createElement("tbody");
  for (let i = curves.length - 1; i >= 0; i -= 1) {
    const texts = groups.flatMap((group) =>
      view === "bucket"
        ? [numbers.count(group.exposures[i]), numbers.count(group.increments[i])]
        : [numbers.count(group.users[i]), numbers.banded(group.mean[i], group.half_width[i], curves.metric)],
    );
    body.append(row(numbers.hours(curves.hours[i]), ...texts));
  }
  table.replaceChildren(head("Hour", ...titles), body);
}
