/* What the page says of itself: live, paused or reconnecting; what is old, and since when; and news, for ears. */

const PATIENCE_MS = 5_000; // a stream that is back sooner is nobody's business
const WORDS = { live: "Live", paused: "Paused", lost: "Reconnecting", joining: "Connecting" };

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const clock = (ms) => `${new Date(ms).toISOString().slice(11, 19)} UTC`;

export class Status {
  constructor({ pause, resume, refresh }) {
    this.word = make("span", { "data-word": "" }, WORDS.joining);
    this.button = make("button", { type: "button", class: "btn" }, "Pause");
    this.button.onclick = () => (this.state === "paused" ? resume() : pause());
    this.bar = make(
      "div",
      { class: "live", "data-is": "joining", "data-own": "" },
      make("span", {}, make("i", { class: "dot" }), this.word),
      this.button,
    );
    document.querySelector(".top .wrap").append(this.bar);
    this.voice = make("p", { class: "vh", role: "status", "data-own": "" });
    this.float = make("p", { class: "banner float", "data-own": "", hidden: "" });
    this.chip = make("button", { type: "button", class: "btn float chip", "data-own": "", hidden: "" });
    this.chip.append("Order changed, refresh");
    this.chip.onclick = refresh;
    document.body.append(this.voice, this.float, this.chip);
    this.staleSince = null;
  }

  connection(state, { since, retryAt }) {
    const resumed = state === "live" && this.state !== "live";
    this.state = state;
    this.since = since;
    this.retryAt = retryAt;
    this.bar.dataset.is = state;
    this.word.textContent = WORDS[state];
    this.button.textContent = state === "paused" ? "Resume" : "Pause";
    clearInterval(this.ticking);
    if (state === "lost") this.ticking = setInterval(() => this.tell(), 1_000);
    if (resumed || state !== "live") this.tell();
  }

  stale(sinceMs) {
    this.staleSince = sinceMs;
    this.tell();
  }

  order(changed) {
    if (this.chip.contains(document.activeElement) && !changed) document.querySelector("a")?.focus();
    this.chip.hidden = !changed;
  }

  say(text) {
    this.voice.textContent = text;
  }

  /* A connection that is lost and a database that is away are two causes, and two messages. */
  tell() {
    let text = "";
    if (this.state === "lost" && Date.now() - this.since >= PATIENCE_MS) {
      const seconds = Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1_000));
      text = `Reconnecting since ${clock(this.since)}. What is shown is from then; next try in ${seconds} s.`;
    } else if (this.state !== "paused" && this.staleSince !== null) {
      text = `The database hasn't answered since ${clock(this.staleSince)}: numbers are as of then.`;
    }
    this.float.hidden = !text;
    if (this.float.textContent !== text) this.float.textContent = text;
  }
}
