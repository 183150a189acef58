/* The event stream of this page: opened again when it was lost, closed while nobody looks. */

const FIRST_MS = 1_000;
const MOST_MS = 30_000;
const SILENCE_MS = 40_000; // the server says something every 15 s; a peer that vanished says nothing for ever
const PEEK_MS = 60_000; // a hidden tab looks this often, for its title

export class Connection {
  /* `address` gives where the stream is now; `onEvent(kind, data)` gets what it says; `onState(state)` one of
     "live", "lost" (with `since` and `retryAt` set) and "paused". */
  constructor(address, onEvent, onState) {
    this.address = address;
    this.onEvent = onEvent;
    this.onState = onState;
    this.paused = false;
    this.failures = 0;
    this.since = null;
    this.retryAt = null;
    this.lastId = "";
    document.addEventListener("visibilitychange", () => this.look());
    addEventListener("online", () => this.since && this.look());
    addEventListener("pageshow", (event) => event.persisted && this.look());
    addEventListener("pagehide", () => this.close());
    this.look();
  }

  pause() {
    this.paused = true;
    this.close();
    this.onState("paused");
  }

  resume() {
    this.paused = false;
    this.failures = 0;
    this.look();
  }

  look() {
    if (this.paused) return;
    this.close();
    if (document.hidden) this.later(PEEK_MS);
    else this.open();
  }

  open() {
    this.close();
    const source = new EventSource(this.address(this.lastId));
    this.source = source;
    this.listen();
    source.onerror = () => this.lost();
    for (const kind of ["snapshot", "change", "beat"]) {
      source.addEventListener(kind, (event) => {
        this.listen();
        if (kind !== "beat") this.lastId = event.lastEventId;
        this.failures = 0;
        this.since = this.retryAt = null;
        this.onState("live");
        this.onEvent(kind, JSON.parse(event.data));
        if (document.hidden) this.look();
      });
    }
  }

  /* An EventSource would try again by itself, but at the same intervals for ever, and not at all after a refusal. */
  lost() {
    this.close();
    const wait = Math.min(FIRST_MS * 2 ** this.failures, MOST_MS) * (0.75 + Math.random() / 2);
    this.failures += 1;
    this.since ??= Date.now();
    this.retryAt = Date.now() + wait;
    this.onState("lost");
    this.later(document.hidden ? PEEK_MS : wait);
  }

  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(), SILENCE_MS);
  }

  later(ms) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), ms);
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.source?.close();
    this.source = null;
  }
}
