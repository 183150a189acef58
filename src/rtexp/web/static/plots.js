/* The three charts over one axis of hours: the metric, the evidence against its boundary, and users per bucket. */

import * as numbers from "./numbers.js";

const LEFT = 52;
const SYNC = "hours";
const MOST_BOUND = 8; // early boundaries lie far out; they are cut off rather than pressing all else flat
const MOST_Z = 40;
const LEAST_Z = 4;
const FONT = '11.5px -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

/* Colours as the style sheet has them now: light or dark. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    control: of("--c"),
    treatments: [of("--t"), of("--t2"), of("--t3")],
    line: of("--line"),
    ink: of("--ink-2"),
    text: of("--ink-3"),
    ground: of("--bg"),
  };
}

const faint = (color) => `color-mix(in srgb, ${color} 16%, transparent)`;

function axes(colors, values) {
  const common = { stroke: colors.text, font: FONT, grid: { stroke: colors.line, width: 1 }, ticks: { show: false } };
  return [
    { ...common, incrs: [1, 2, 3, 6, 12, 24, 48], values: (_, at) => at.map((hour) => `${hour}`), size: 26 },
    { ...common, size: LEFT, values: (_, at) => at.map(values) },
  ];
}

function options(curves, colors, { height, values, series, scale, bands, hooks, drag = false, top = 8 }) {
  return {
    width: 600,
    height,
    padding: [top, 12, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: SYNC, setSeries: false }, y: false, drag: { x: drag, y: false, setScale: false }, points: { size: 7 } },
    select: { show: drag },
    scales: { x: { time: false, range: () => [0, curves.end] }, y: { range: scale } },
    axes: axes(colors, values),
    series: [{}, ...series],
    bands,
    hooks,
  };
}

/* A line of a group: control dashed and grey, a treatment solid; so they differ without colours as well. */
function line(curves, colors, group, more = {}) {
  if (group.control) return { stroke: colors.control, width: 2, dash: [5, 3], points: { show: false }, ...more };
  const at = curves.groups.filter((each) => !each.control).indexOf(group);
  const dash = [undefined, [9, 3, 2, 3], [2, 2]][at % 3];
  return { stroke: colors.treatments[at % 3], width: 2.2, dash, points: { show: false }, ...more };
}

export function metricPlot(curves, { view, chosen }, hooks) {
  const colors = palette();
  const data = [curves.hours];
  const series = [];
  const bands = [];
  for (const group of curves.groups) {
    if (view === "bucket") {
      data.push(group.increments);
      series.push(line(curves, colors, group, { width: 1.4 }));
      continue;
    }
    data.push(group.mean);
    const shown = line(curves, colors, group);
    series.push(shown);
    if (!group.control && group.group_name !== chosen) continue; // more than two bands hide each other
    data.push(group.high, group.low);
    const edgeOf = { stroke: "transparent", width: 0, points: { show: false } };
    series.push(edgeOf, edgeOf);
    bands.push({ series: [data.length - 2, data.length - 1], fill: faint(shown.stroke) });
  }
  const values = (value) => (view === "bucket" ? numbers.count(value) : tick(value, curves.metric));
  return [options(curves, colors, { height: 260, values, series, bands, hooks, scale: scaleOf(curves, view) }), data];
}

const tick = (value, metric) => (metric === "propensity" ? `${Number((100 * value).toFixed(2))}%` : `${Number(value.toFixed(3))}`);

/* Early bands are as wide as all there may be: the axis is that of the later ones. */
function scaleOf(curves, view) {
  if (view === "bucket") return (_, low, high) => [0, (high || 1) * 1.1];
  return () => {
    const from = Math.min(Math.floor(curves.length / 4), 24);
    const ends = curves.groups.flatMap((g) => [...g.low.slice(from), ...g.high.slice(from), ...g.mean.slice(from)]);
    const found = ends.filter((value) => value !== null);
    if (!found.length) return [0, 1];
    const [low, high] = [Math.min(...found), Math.max(...found)];
    const room = (high - low || high || 1) * 0.08;
    return [Math.max(0, low - room), high + room];
  };
}

export function boundaryPlot(curves, { chosen, role }, hooks) {
  const colors = palette();
  const looks = curves.looksOf(chosen, role) ?? { hours: [], z: [], boundary: [], look: [] };
  const bound = { stroke: colors.ink, width: 1.5, dash: [5, 4], points: { show: false } };
  const crossed = looks.z.map((value, i) => (looks.look[i] === looks.first_crossed ? value : null));
  const group = curves.group(chosen);
  const evidence = group ? line(curves, colors, group) : {};
  const data = [looks.hours, looks.z, looks.boundary, crossed];
  const series = [
    { ...evidence, points: { show: true, size: 4, fill: evidence.stroke } },
    bound,
    { stroke: evidence.stroke, width: 0, points: { show: true, size: 11, fill: evidence.stroke, stroke: colors.ground } },
  ];
  if (role !== "guardrail") {
    data.push(looks.boundary.map((value) => (value === null ? null : -value)));
    series.push(bound);
  }
  const highest = (values) => Math.max(0, ...values.map(Math.abs)) * 1.1;
  const most = Math.max(LEAST_Z, Math.min(highest(looks.z), MOST_Z), Math.min(highest(looks.boundary), MOST_BOUND));
  const values = (value) => numbers.z(value).replace(/\.00$/, "");
  return [options(curves, colors, { height: 200, values, series, hooks, scale: () => [-most, most] }), data];
}

export function exposurePlot(curves, hooks) {
  const colors = palette();
  const data = [curves.hours, ...curves.groups.map((group) => group.exposures)];
  const series = curves.groups.map((group) => line(curves, colors, group, { width: 1.4 }));
  const scale = (_, low, high) => [0, (high || 1) * 1.1];
  return [options(curves, colors, { height: 96, values: numbers.count, series, scale, hooks, drag: true }), data];
}
