// The last hour of a service in lines. `/health` has a list for each figure, one for each ten seconds, the newest last.

import { grouped } from "./exact.js";
import { duration } from "./health.js";

/** The ten seconds of an hour. */
const SLOTS = 360;

const count = (value) => grouped(String(value));
const perSecond = (value, seconds) => `${count(Number((value / seconds).toFixed(1)))}/s`;
const milliseconds = (value) => duration(value, 1000);

/** What is drawn, and what its figures are of. What is unknown is left out, and so is what `isRare` if it is always 0. */
const LINES = [
  { member: "bought", name: "Bought", of: "acknowledged by this process", inWords: perSecond, isRare: true },
  { member: "stored", name: "Stored", of: "records that ingest has passed, in all processes", inWords: perSecond },
  { member: "errors", name: "Errors", of: "responses of this process with a status of 500 or above", inWords: perSecond },
  { member: "p99_ms", name: "Response p99", of: "99 of 100 responses of this process were faster", inWords: milliseconds },
  { member: "lag", name: "Lag", of: "records in the log that were not stored yet", inWords: count },
];

/** The lines of an hour: `{name, of, last, most, seconds, lines}`, in a picture of this size. */
export function linesOf(hour, size) {
  const seconds = Number(hour.interval_seconds);
  return LINES.map(({ member, inWords, ...line }) => {
    const values = hour[member].map((value) => (value === null ? null : Number(value)));
    const most = Math.max(0, ...values);
    const words = (value) => (value === null || value === undefined ? "unknown" : inWords(value, seconds));
    return { ...line, last: words(values.at(-1)), most: words(most), isKnown: values.some((value) => value !== null), isZero: most === 0, seconds: seconds * values.length, lines: pointsOf(values, size) };
  }).filter(({ isKnown, isRare, isZero }) => isKnown && !(isRare && isZero));
}

/** The points of a line that ends at the right; unknown values interrupt it, and one between two of them is a dot. */
export function pointsOf(values, { width, height }) {
  const most = Math.max(1, ...values);
  const lines = [[]];
  values.forEach((value, index) => {
    if (value === null) lines.push([]);
    else lines.at(-1).push(`${(width - ((values.length - 1 - index) / (SLOTS - 1)) * width).toFixed(1)},${(height - (value / most) * height).toFixed(1)}`);
  });
  return lines.filter((line) => line.length > 0).map((line) => (line.length === 1 ? [line[0], line[0]] : line).join(" "));
}
