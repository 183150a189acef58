/* Event, metric and view: what there is to choose stands in the page's tables of metrics, as links. */

export class Controls {
  constructor(place, { onComparison, onView }) {
    this.event = place.querySelector("select");
    this.metrics = [...place.querySelectorAll('input[name="metric"]')];
    this.views = [...place.querySelectorAll('input[name="view"]')];
    this.onComparison = onComparison;
    this.event.addEventListener("change", () => this.choose());
    for (const input of this.metrics) input.addEventListener("change", () => this.choose());
    for (const input of this.views) input.addEventListener("change", () => onView(input.value));
  }

  take(chosen) {
    this.chosen = chosen;
    const queries = links();
    const events = [...new Set(queries.map((query) => query.get("event")))];
    this.event.replaceChildren(...events.map((event) => new Option(event, event, false, event === chosen.event)));
    for (const input of this.metrics) {
      input.checked = input.value === chosen.metric;
      input.disabled = !queries.some((q) => q.get("event") === chosen.event && q.get("metric") === input.value);
    }
    for (const input of this.views) input.checked = input.value === chosen.view;
  }

  /* The comparison that is nearest to the one before: same metric, group and role, as far as there is one. */
  choose() {
    const wanted = {
      event: this.event.value,
      metric: this.metrics.find((input) => input.checked)?.value,
      group: this.chosen.group,
      role: this.chosen.role,
    };
    const alike = (query) => Object.entries(wanted).findIndex(([name, value]) => query.get(name) !== value);
    const rank = (query) => (alike(query) < 0 ? Infinity : alike(query));
    const nearest = links().reduce((best, query) => (!best || rank(query) > rank(best) ? query : best), null);
    if (nearest) this.onComparison(nearest);
  }
}

function links() {
  return [...document.querySelectorAll('tr[data-live^="metric:"] th a')].map((a) => new URL(a.href).searchParams);
}
