/* The curves of one metric (`/curves` of the API), with the running sums that increments become. */

import { inHours } from "./numbers.js";

const running = (increments) => {
  let sum = 0;
  return increments.map((value) => (sum += value));
};

export class Curves {
  constructor(answer) {
    Object.assign(this, answer); // event, metric, groups, looks, origin_ms, bucket_ms, period_end_ms
    this.step = inHours(this.bucket_ms);
    this.end = inHours(this.period_end_ms - this.origin_ms);
    this.length = this.groups[0]?.volume.length ?? 0;
    this.hours = Array.from({ length: this.length }, (_, i) => (i + 1) * this.step); // the end of each bucket
    for (const group of this.groups) {
      const users = running(group.exposures);
      const sums = running(this.metric === "propensity" ? group.actors : group.volume);
      group.users = users;
      group.sums = sums;
      group.mean = sums.map((sum, i) => (users[i] ? sum / users[i] : null));
      group.low = group.mean.map((value, i) => edge(value, group.half_width[i], -1));
      group.high = group.mean.map((value, i) => edge(value, group.half_width[i], 1));
      group.increments = this.metric === "propensity" ? group.actors : group.volume;
    }
    this.control = this.groups.find((group) => group.control);
  }

  group(name) {
    return this.groups.find((group) => group.group_name === name);
  }

  /* What the looks at one treatment say; hours from the period's first bucket on. */
  looksOf(name, role) {
    const found = this.looks.find((each) => each.group_name === name && each.role === role);
    return found && { ...found, hours: found.offset_ms.map(inHours) };
  }

  /* The change of the mean against control, at the end of a bucket. */
  lift(name, index) {
    const [control, treatment] = [this.control?.mean[index], this.group(name)?.mean[index]];
    return control && treatment !== null && treatment !== undefined ? treatment / control - 1 : null;
  }

  /* The newest look that was evaluated by then. */
  lookAt(name, role, hour) {
    const looks = this.looksOf(name, role);
    let found = null;
    looks?.hours.forEach((at, i) => {
      if (at <= hour && looks.z[i] !== null) {
        found = { look: looks.look[i], z: looks.z[i], boundary: looks.boundary[i], crossed: looks.first_crossed };
      }
    });
    return found;
  }
}

const edge = (value, half, sign) => (value === null || half === null ? null : Math.max(0, value + sign * half));
