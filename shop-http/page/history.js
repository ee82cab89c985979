// Readings of the last hour, as far as this page was open.

const HOUR = 3_600_000;
const INTERVAL = 10_000;

/** `samples` with a new one, which is `{at, …}`: one in ten seconds, none older than an hour. */
export function withSample(samples, sample) {
  const recent = samples.filter(({ at }) => at > sample.at - HOUR);
  const isDue = recent.length === 0 || sample.at - recent.at(-1).at >= INTERVAL;
  return isDue ? [...recent, sample] : recent.length === samples.length ? samples : recent;
}

/** The points of a line `width` wide and `height` high, for the member of each sample; unknown values interrupt it. */
export function pointsOf(samples, member, { width, height, now }) {
  const values = samples.map((sample) => sample[member]).filter((value) => value !== undefined);
  const most = Math.max(1, ...values);
  const lines = [[]];
  for (const { at, [member]: value } of samples) {
    if (value === undefined) lines.push([]);
    else lines.at(-1).push([width - ((now - at) / HOUR) * width, height - (value / most) * height]);
  }
  const rounded = (point) => point.map((number) => number.toFixed(1)).join(",");
  return { most, lines: lines.filter((line) => line.length > 0).map((line) => line.map(rounded).join(" ")) };
}
