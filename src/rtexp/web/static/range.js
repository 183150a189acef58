/* Distinct users of a range of buckets: dragged in the chart, or typed as hours; estimated on the server. */

import * as numbers from "./numbers.js";
import { head, row } from "./readout.js";

const LEAST_MS = 150; // between two requests while a range is dragged

export class Range {
  constructor(place, onChange) {
    this.inputs = ["from", "to"].map((name) => place.querySelector(`input[name="${name}"]`));
    this.table = place.querySelector("table");
    this.title = place.querySelector("[data-title]");
    this.onChange = onChange;
    this.from = this.to = null;
    const query = new URLSearchParams(location.search);
    this.wanted = ["from", "to"].map((name) => (query.has(name) ? Number(query.get(name)) : NaN));
    for (const input of this.inputs) {
      input.addEventListener("change", () => this.set(...this.inputs.map((each) => Number(each.value))));
    }
  }

  take(curves, { event, period, group }, address) {
    Object.assign(this, { curves, event, period, group, address });
    this.title.textContent = `Distinct users with ${event}`;
    const [from, to] = this.from === null ? this.wanted : [this.from, this.to];
    this.place(Number.isFinite(from) ? from : 0, Number.isFinite(to) ? to : curves.hours.at(-1));
    this.ask();
  }

  set(from, to) {
    this.place(from, to);
    this.onChange(this.from, this.to);
    this.ask();
  }

  /* Snaps to buckets, of which there is one at least. */
  place(from, to) {
    const { step, length } = this.curves;
    const within = (value) => Math.min(Math.max(Math.round(value / step), 0), length);
    const first = Math.min(within(Math.min(from, to)), length - 1);
    const behind = Math.max(within(Math.max(from, to)), first + 1);
    [this.from, this.to] = [first * step, behind * step];
    this.inputs.forEach((input, i) => {
      input.max = String(length * step);
      input.step = String(step);
      input.value = numbers.hours(i ? this.to : this.from);
    });
  }

  ask() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(), LEAST_MS);
  }

  async fetch() {
    const { origin_ms: origin } = this.curves;
    const asked = (this.asked = {});
    const query = new URLSearchParams({
      event: this.event,
      period: this.period,
      from_ms: origin + numbers.inMs(this.from),
      to_ms: origin + numbers.inMs(this.to),
    });
    const answer = await fetch(`${this.address}?${query}`);
    if (!answer.ok || asked !== this.asked) return; // a later range was asked for meanwhile
    this.show((await answer.json()).items);
  }

  show(items) {
    const of = (name) => items.find((item) => item.group_name === name);
    const rows = this.curves.groups.map(({ group_name: name }) => {
      const found = of(name);
      return row(name, found ? `${numbers.count(found.estimate)} \u00b1 ${numbers.count(2 * found.standard_error)}` : numbers.count(null));
    });
    const [control, treatment] = [of(this.curves.control?.group_name), of(this.group)];
    if (control?.estimate && treatment) {
      const ratio = treatment.estimate / control.estimate;
      const error = 2 * ratio * Math.hypot(control.standard_error / control.estimate, treatment.standard_error / treatment.estimate || 0);
      rows.push(row(`${this.group} over control`, `${ratio.toFixed(3)} \u00b1 ${error.toFixed(3)}`));
    }
    const body = document.createElement("tbody");
    body.append(...rows);
    this.table.replaceChildren(head("Group", "Estimate, 2 standard errors"), body);
  }
}
