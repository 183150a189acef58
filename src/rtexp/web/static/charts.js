/* Charts of one comparison in place of the drawing that the page has without scripts; one cross-hair, one readout. */

import { go } from "./live.js";
import { Controls } from "./controls.js";
import { Curves } from "./curves.js";
import { boundaryPlot, exposurePlot, metricPlot } from "./plots.js";
import * as numbers from "./numbers.js";
import { allBuckets, fill, sentence } from "./readout.js";
import { Range } from "./range.js";

const REFRESH_MS = 15_000; // a bucket is 15 minutes: what is newer can wait a little
const SPREAD_MS = 5_000; // not all browsers at once

const place = document.getElementById("charts");
const parts = {};

class Charts {
  constructor() {
    this.plots = [];
    this.index = null; // null: the newest bucket
    this.loadedAt = 0;
    this.view = new URLSearchParams(location.search).get("view") === "bucket" ? "bucket" : "cumulative";
    this.range = new Range(parts.range, (from, to) => this.selected(from, to));
    this.controls = new Controls(parts.controls, {
      onComparison: (query) => this.show(query),
      onView: (view) => this.turn(view),
    });
    parts.cursor.addEventListener("input", () => this.point(Number(parts.cursor.value)));
    parts.all.addEventListener("toggle", () => this.list());
    new ResizeObserver(() => this.resize()).observe(parts.metric);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    document.addEventListener("rtexp:changed", () => this.later());
    this.load();
  }

  /* What the page is about now; without a choice in the address that may change while it is open. */
  get asked() {
    return document.querySelector('[data-live="comparison"]').dataset;
  }

  later() {
    clearTimeout(this.timer);
    const { event, metric, group, role } = this.asked;
    const same = !this.of || [event, metric, group, role].every((name, i) => name === this.of[i]);
    const wait = same ? Math.max(0, this.loadedAt + REFRESH_MS - Date.now()) + Math.random() * SPREAD_MS : 0;
    this.timer = setTimeout(() => this.load(), wait);
  }

  async load() {
    const { event, metric, group, role, period } = this.asked;
    this.loadedAt = Date.now();
    const answer = await fetch(`${place.dataset.api}/curves?${new URLSearchParams({ event, metric, period })}`);
    if (!answer.ok) return; // what is drawn stays; the page itself says what is wrong
    const curves = new Curves(await answer.json());
    if (!curves.length) return;
    this.curves = curves;
    this.of = [event, metric, group, role];
    document.querySelector('[data-live="evidence"]')?.setAttribute("hidden", "");
    place.hidden = false; // before anything is drawn: what is hidden has no width
    this.draw();
    this.range.take(curves, { ...this.asked }, `${place.dataset.api}/uniques`);
    this.mark();
    this.controls.take({ event, metric, group, role, view: this.view });
  }

  get shown() {
    const { group, role, withheld } = this.asked;
    return { view: this.view, chosen: group, role, withheld: withheld !== undefined };
  }

  draw() {
    for (const plot of this.plots) plot.destroy();
    const follow = { setCursor: [(plot) => this.follow(plot)] };
    const strip = { ...follow, setSelect: [(plot) => this.drag(plot)] };
    const { curves, shown } = this;
    this.plots = [
      this.plot(parts.metric, metricPlot(curves, shown, follow)),
      this.plot(parts.boundary, boundaryPlot(curves, shown, follow)),
      this.plot(parts.exposure, exposurePlot(curves, strip)),
    ];
    const last = curves.length - 1;
    parts.metric.setAttribute("aria-label", `${sentence(curves, shown, last)}. The table below has all buckets.`);
    const looks = curves.looksOf(shown.chosen, shown.role)?.look.length ?? 0;
    parts.boundary.setAttribute("aria-label", `Z of ${looks} looks against the boundary; the table of looks has the same numbers.`);
    parts.exposure.setAttribute("aria-label", "New users of each group by bucket; the table below has the same numbers.");
    parts.metricTitle.textContent = titleOf(curves, this.view);
    parts.cursor.max = String(last);
    this.read();
    this.mark();
    this.list();
  }

  plot(element, [options, data]) {
    const plot = new uPlot({ ...options, width: Math.max(element.clientWidth, 200) }, data, element);
    plot.over.addEventListener("mouseleave", () => this.leave());
    return plot;
  }

  resize() {
    for (const plot of this.plots) plot.setSize({ width: Math.max(parts.metric.clientWidth, 200), height: plot.height });
    if (this.plots.length) this.mark();
  }

  follow(plot) {
    if (this.pointing || plot.cursor.left < 0 || !plot.cursor.event) return;
    const hour = plot.posToVal(plot.cursor.left, "x");
    this.index = Math.min(Math.max(Math.ceil(hour / this.curves.step) - 1, 0), this.curves.length - 1);
    this.read();
  }

  leave() {
    this.index = null;
    this.read();
  }

  /* The keyboard's way over the buckets. */
  point(index) {
    this.index = index;
    this.pointing = true;
    for (const plot of this.plots) {
      plot.setCursor({ left: plot.valToPos(this.curves.hours[index], "x"), top: 0 }, false, false);
    }
    this.pointing = false;
    this.read();
  }

  read() {
    const index = Math.min(this.index ?? Infinity, this.curves.length - 1);
    parts.cursor.value = String(index);
    parts.cursor.setAttribute("aria-valuetext", sentence(this.curves, this.shown, index));
    const endMs = this.curves.origin_ms + (index + 1) * this.curves.bucket_ms;
    parts.when.textContent = `Until ${numbers.clock(endMs)} UTC, hour ${numbers.hours(this.curves.hours[index])}`;
    fill(parts.readout, parts.note, this.curves, this.shown, index);
  }

  list() {
    if (parts.all.open && this.curves) allBuckets(parts.allTable, this.curves, this.shown);
  }

  /* A range that was dragged over the users per bucket. */
  drag(plot) {
    if (!plot.select.width) return;
    const { left, width } = plot.select;
    this.range.set(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  }

  selected(from, to) {
    remember({ from, to });
    this.mark();
  }

  /* Shows the range; a chart knows where an hour is only after it was drawn. */
  mark() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      const [strip, { from, to }] = [this.plots[2], this.range];
      if (!strip || from === null) return;
      const [left, right] = [from, to].map((hour) => strip.valToPos(hour, "x"));
      strip.setSelect({ left, width: right - left, top: 0, height: strip.over.clientHeight }, false);
    });
  }

  turn(view) {
    this.view = view;
    remember({ view: view === "bucket" ? view : null });
    this.draw();
  }

  /* Another comparison: the page's own tables are about it as well. */
  async show(query) {
    const kept = new URLSearchParams(location.search);
    for (const name of ["view", "from", "to"]) if (kept.has(name)) query.set(name, kept.get(name));
    await go(query);
    this.load();
  }
}

function titleOf({ event, metric }, view) {
  if (view === "bucket") return metric === "propensity" ? `Users with their first ${event}, per bucket` : `${event} actions, per bucket`;
  const what = metric === "propensity" ? `Users who did ${event}, share of exposed` : `${event} actions per exposed user`;
  return `${what}, since the ramp; bands: 95% confidence sequence, valid at every bucket`;
}

function remember(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value === null) query.delete(name);
    else query.set(name, value);
  }
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
}

if (place) {
  for (const element of place.querySelectorAll("[data-part]")) parts[element.dataset.part] = element;
  new Charts();
}
