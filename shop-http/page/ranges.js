// Ranges of days in the browser's zone, as the address of a view and the parameters of the service write them. Days are
// texts such as `2026-11-22`; their arithmetic is that of days since 1970.

import { sum } from "./exact.js";

const MINUTE = 60_000;
const DAY = 86_400_000;
/** The most days that are drawn as such. */
const MAX_DAYS = 92;
/** The most changes of the zone's offset, such as of summer time, at which a range is divided. */
const MAX_CHANGES = 4;

/** The ranges that have a name. */
export const PRESETS = { "7d": "7 days", "30d": "30 days", "12m": "12 months", all: "All time" };
const DEFAULT = "30d";

const numberOf = (day) => Date.parse(`${day}T00:00:00Z`) / DAY;
const dayOf = (number) => new Date(number * DAY).toISOString().slice(0, 10);
const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text ?? "") && dayOfNumber(text) === text;
const dayOfNumber = (text) => (Number.isNaN(numberOf(text)) ? "" : dayOf(numberOf(text)));
const monthOf = (day) => Number(day.slice(0, 4)) * 12 + Number(day.slice(5, 7)) - 1;
const firstOfMonth = (month) => `${String(Math.floor(month / 12)).padStart(4, "0")}-${String((month % 12) + 1).padStart(2, "0")}-01`;

/** The offset of the zone at a time, in minutes east of UTC. */
const offsetAt = (time) => -new Date(time).getTimezoneOffset();
/** When a day begins in the zone. */
const startOf = (day) => new Date(Number(day.slice(0, 4)), Number(day.slice(5, 7)) - 1, Number(day.slice(8))).toISOString();
/** The day of a time at `offset` minutes east of UTC. */
export const dayAt = (time, offset) => dayOf(Math.floor((new Date(time).getTime() + offset * MINUTE) / DAY));

/** An offset in minutes east of UTC, as `+01:00`. */
export function zoneOf(offset) {
  const minutes = Math.abs(offset);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  return `${offset < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

/**
 * The range that the parameters of an address name, today being the day of `now`: `{name, first, last, per, canBeDaily,
 * isOpen}`. `first` is null for all time; without a valid range it is the default one.
 */
export function rangeOf({ range, from, to, per }, now) {
  const today = dayAt(now, offsetAt(now));
  let [name, first, last] = [Object.hasOwn(PRESETS, range ?? "") ? range : DEFAULT, null, today];
  if (range === undefined && isDay(from) && isDay(to) && from <= to) [name, first, last] = ["custom", from, to];
  else if (name === "12m") first = firstOfMonth(monthOf(today) - 11);
  else if (name !== "all") first = dayOf(numberOf(today) - (name === "7d" ? 6 : 29));
  const canBeDaily = first !== null && numberOf(last) - numberOf(first) < MAX_DAYS;
  return { name, first, last, per: !canBeDaily || per === "month" ? "month" : "day", canBeDaily, isOpen: last >= today };
}

/** `from` and `to` of the service. A range up to today has no end: purchases are added to it. */
export function boundsOf({ first, last, isOpen }) {
  return { from: first === null ? undefined : startOf(first), to: isOpen ? undefined : startOf(dayOf(numberOf(last) + 1)) };
}

/**
 * The parts of a range in which the zone has one offset: `{from, to, offset}`. All time, and a range with more changes
 * than can be asked for, is one part, with the offset of its end.
 */
export function partsOf(range, now) {
  const { from, to } = boundsOf(range);
  const end = to === undefined ? new Date(now).getTime() : Date.parse(to) - 1;
  const changes = from === undefined ? [] : changesBetween(Date.parse(from), end);
  if (from === undefined || changes.length > MAX_CHANGES) return [{ from, to, offset: offsetAt(end) }];
  const starts = [from, ...changes];
  return starts.map((start, at) => ({ from: start, to: starts[at + 1] ?? to, offset: offsetAt(start) }));
}

/** When the offset of the zone changes, to the minute. */
function changesBetween(start, end) {
  const changes = [];
  for (let day = start; day < end; day += DAY) {
    let [before, after] = [day, Math.min(day + DAY, end)];
    if (offsetAt(before) === offsetAt(after)) continue;
    while (after - before > MINUTE) {
      const middle = before + Math.ceil((after - before) / MINUTE / 2) * MINUTE;
      if (middle >= after) break;
      if (offsetAt(middle) === offsetAt(before)) before = middle;
      else after = middle;
    }
    changes.push(new Date(after).toISOString());
  }
  return changes;
}

/** The `buckets` of all `parts` in the order of time: `[{day, count, total}]`, one per day or month. */
export function merged(parts, per) {
  const byDay = new Map();
  for (const { offset, buckets } of parts) {
    for (const { from, count, total_spent: total } of buckets) {
      const day = dayAt(from, offset);
      const first = per === "month" ? firstOfMonth(monthOf(day)) : day;
      const known = byDay.get(first);
      byDay.set(first, known ? { day: first, count: sum([known.count, count]), total: sum([known.total, total]) } : { day: first, count, total });
    }
  }
  return [...byDay.values()];
}

/**
 * Places of the merged `buckets` on an axis of days or months: `{slots, first, last, bars: [{slot, day, count, total}]}`,
 * where `day` is the first day of a bar.
 */
export function axisOf(buckets, { first, last, per }) {
  const index = per === "month" ? monthOf : numberOf;
  const back = per === "month" ? firstOfMonth : dayOf;
  const places = buckets.map(({ day }) => index(day));
  const start = first === null ? (places[0] ?? index(last)) : index(first);
  const end = Math.max(index(last), ...places);
  const bars = buckets.map((bucket, at) => ({ slot: places[at] - start, ...bucket }));
  return { slots: end - start + 1, first: back(start), last: back(end), bars };
}
