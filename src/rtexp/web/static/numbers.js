/* Numbers as the pages write them (figures.py); what isn't there is a dash, never 0. */

const NONE = "\u2013";
const MINUS = "\u2212";
const HOUR_MS = 3_600_000;

const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
const withMinus = (text) => text.replace("-", MINUS);

export const count = (value) => (known(value) ? Math.round(value).toLocaleString("en-US") : NONE);

export function mean(value, metric) {
  if (!known(value)) return NONE;
  if (metric !== "propensity") return value.toFixed(3);
  return `${(100 * value).toFixed(100 * value < 10 ? 2 : 1)}%`;
}

/* A mean with how far its band reaches to both sides. */
export function banded(value, half, metric) {
  if (!known(value)) return NONE;
  if (!known(half)) return mean(value, metric);
  if (metric !== "propensity") return `${value.toFixed(3)} \u00b1 ${half.toFixed(3)}`;
  const digits = 100 * value < 10 ? 2 : 1;
  return `${(100 * value).toFixed(digits)} \u00b1 ${(100 * half).toFixed(digits)}%`;
}

export function lift(value) {
  if (!known(value)) return NONE;
  const text = (100 * value).toFixed(1);
  if (Number(text) === 0) return "0.0%";
  return `${value > 0 ? "+" : ""}${withMinus(text)}%`;
}

export const z = (value) => (known(value) ? withMinus(value.toFixed(2)) : NONE);
export const hours = (value) => String(Number(value.toFixed(2)));
export const clock = (ms) => new Date(ms).toISOString().slice(5, 16).replace("T", " ");
export const inHours = (ms) => ms / HOUR_MS;
export const inMs = (value) => Math.round(value * HOUR_MS);
