// Ranges of days in the browser's zone, as the address of a view and the parameters of the service write them. Days are
// texts such as `2026-11-22`; their arithmetic is that of days since 1970.

import { sum } from "./exact.js";

const MINUTE = 60_000;
const DAY = 86_400_000;
/** The most days, weeks and months that are drawn as such; more months are drawn as years. */
const MAX_BARS = { day: 92, week: 105, month: 120 };
/** The most days that the service sums one by one. */
const MAX_BUCKETS = 1000;
/** Where the offsets of all time begin. */
const EARLIEST = "1970-01-01";

/** The ranges that have a name. */
export const PRESETS = { "7d": "7 days", "30d": "30 days", "12m": "12 months", all: "All time" };
const DEFAULT = "30d";

const numberOf = (day) => Date.parse(`${day}T00:00:00Z`) / DAY;
const dayOf = (number) => new Date(number * DAY).toISOString().slice(0, 10);
const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text ?? "") && dayOfNumber(text) === text;
const dayOfNumber = (text) => (Number.isNaN(numberOf(text)) ? "" : dayOf(numberOf(text)));
const monthOf = (day) => Number(day.slice(0, 4)) * 12 + Number(day.slice(5, 7)) - 1;
const firstOfMonth = (month) => `${firstOfYear(Math.floor(month / 12)).slice(0, 4)}-${String((month % 12) + 1).padStart(2, "0")}-01`;
const firstOfYear = (year) => `${String(year).padStart(4, "0")}-01-01`;

/** What a bar stands for: the number of the period that a day is in, and the first day of one. Weeks begin on Monday. */
const PERIODS = {
  day: { indexOf: numberOf, firstOf: dayOf },
  week: { indexOf: (day) => Math.floor((numberOf(day) + 3) / 7), firstOf: (week) => dayOf(week * 7 - 3) },
  month: { indexOf: monthOf, firstOf: firstOfMonth },
  year: { indexOf: (day) => Number(day.slice(0, 4)), firstOf: firstOfYear },
};
const slotsOf = (first, last, per) => PERIODS[per].indexOf(last) - PERIODS[per].indexOf(first) + 1;

/** The offset of the zone at a time, in minutes east of UTC. */
const offsetAt = (time) => -new Date(time).getTimezoneOffset();
/** When a day begins in the zone. */
const startOf = (day) => new Date(Number(day.slice(0, 4)), Number(day.slice(5, 7)) - 1, Number(day.slice(8))).toISOString();
/** The offset in which a day of the zone begins at midnight, which is the one before summer time begins at that moment. */
const offsetOfMidnight = (day) => Math.round((Date.parse(`${day}T00:00:00Z`) - Date.parse(startOf(day))) / MINUTE);
/** The day of a time at `offset` minutes east of UTC. */
export const dayAt = (time, offset) => dayOf(Math.floor((new Date(time).getTime() + offset * MINUTE) / DAY));

/** The day of a time in the zone. */
export const localDayOf = (time) => dayAt(time, offsetAt(time));

/** An offset in minutes east of UTC, as `+01:00`. */
export function zoneOf(offset) {
  const minutes = Math.abs(offset);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  return `${offset < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

/**
 * The range that the parameters of an address name, today being the day of `now`: `{name, first, last, per, choices,
 * isOpen}`, with the `choices` for `per`. `first` is null for all time; without a valid range it is the default one.
 */
export function rangeOf({ range, from, to, per }, now) {
  const today = dayAt(now, offsetAt(now));
  let [name, first, last] = [Object.hasOwn(PRESETS, range ?? "") ? range : DEFAULT, null, today];
  if (range === undefined && isDay(from) && isDay(to) && from <= to) [name, first, last] = ["custom", from, to];
  else if (name === "12m") first = firstOfMonth(monthOf(today) - 11);
  else if (name !== "all") first = dayOf(numberOf(today) - (name === "7d" ? 6 : 29));
  const choices = ["day", "week"].filter((per) => first !== null && slotsOf(first, last, per) <= MAX_BARS[per]).concat("month");
  return { name, first, last, per: choices.includes(per) ? per : choices.includes("day") ? "day" : "month", choices, isOpen: last >= today };
}

/** `from` and `to` of the service. A range up to today has no end: purchases are added to it. */
export function boundsOf({ first, last, isOpen }) {
  return { from: first === null ? undefined : startOf(first), to: isOpen ? undefined : startOf(dayOf(numberOf(last) + 1)) };
}

/**
 * The offsets of the zone at which periods of a range begin or end, in minutes east of UTC. The service sums in one offset
 * per request; all time is asked for in those since 1970.
 */
export function offsetsOf({ first, last, per }) {
  const { indexOf, firstOf } = PERIODS[per];
  const begin = first ?? EARLIEST;
  const end = dayOf(numberOf(last) + 1);
  const slots = indexOf(end) - indexOf(begin);
  const inside = Array.from({ length: slots }, (_, at) => firstOf(indexOf(begin) + at + 1));
  // The latest one is first: it stands for those that are not among them.
  const days = [end, ...inside.reverse(), begin];
  return [...new Set(days.map(offsetOfMidnight))];
}

/**
 * The time of the same length before a bounded range, of an open one up to the same time of the day: a range `{first,
 * last, per}` with the `{from, to}` of the service, its name in `words`, and `move`, which leads from a day to its place in
 * the range. Null for all time, and for more days than the service sums.
 */
export function beforeOf({ name, first, last, per, isOpen }, now) {
  const days = first === null ? Infinity : slotsOf(first, last, "day");
  if (days > MAX_BUCKETS) return null;
  const isYear = name === "12m";
  const start = isYear ? firstOfMonth(monthOf(first) - 12) : dayOf(numberOf(first) - days);
  const by = numberOf(first) - numberOf(start);
  const end = isOpen ? new Date(now).getTime() - by * DAY : Date.parse(startOf(dayOf(numberOf(last) + 1 - by)));
  const asked = { first: start, last: dayOf(numberOf(first) - 1), from: startOf(start), to: new Date(end).toISOString() };
  const words = isYear ? "a year before" : days === 1 ? "the day before" : `the ${days} days before`;
  if (isYear && per === "month") return { ...asked, words, per, move: (day) => firstOfMonth(monthOf(day) + 12) };
  return { ...asked, words, per: "day", move: (day) => dayOf(numberOf(day) + by) };
}

/**
 * The totals of the periods of a range in the order of time, `[{day, count, total}]`, of which `day` is the first day.
 * There is one answer of the service, `{offset, buckets}`, for each of the offsets of the range.
 */
export function periodTotals({ first, last, per }, answers) {
  const { indexOf, firstOf } = PERIODS[per];
  const byOffset = answers.map(({ offset, buckets }) => {
    const dated = buckets.map(({ from, count, total_spent: total }) => ({ day: dayAt(from, offset), count, total }));
    return { offset, buckets: dated };
  });
  const inOffsetOf = (day) => (byOffset.find(({ offset }) => offset === offsetOfMidnight(day)) ?? byOffset[0]).buckets;
  const indexes = new Set(byOffset.flatMap(({ buckets }) => buckets.map(({ day }) => indexOf(day))));
  const periods = [...indexes].sort((one, other) => one - other).map((index) => {
    const begin = firstOf(index);
    const end = firstOf(index + 1);
    // What was before the range is in no answer, and what is behind its last day is in it.
    const atBegin = inOffsetOf(first !== null && begin < first ? first : begin);
    const atEnd = inOffsetOf(last < end ? dayOf(numberOf(last) + 1) : end);
    return { day: begin, ...between(atBegin, begin, atEnd, end) };
  });
  return periods.filter(({ count, total }) => count !== "0" || Number(total) !== 0);
}

/**
 * The count and the total from the first day `begin` until the first day `end`, each a midnight of the offset in which
 * the buckets beside it are. Where these offsets differ, it is what was before the end without what was before the begin.
 */
function between(atBegin, begin, atEnd, end) {
  if (atBegin === atEnd) return summed(atBegin.filter(({ day }) => day >= begin && day < end));
  const until = summed(atEnd.filter(({ day }) => day < end));
  const before = summed(atBegin.filter(({ day }) => day < begin));
  return { count: sum([until.count, negated(before.count)]), total: sum([until.total, negated(before.total)]) };
}

/** The count and the total of all `buckets`. */
export const summed = (buckets) => ({ count: sum(buckets.map(({ count }) => count)), total: sum(buckets.map(({ total }) => total)) });
const negated = (decimal) => (decimal.startsWith("-") ? decimal.slice(1) : `-${decimal}`);

/** The `buckets` of days or months, each led to another day by `move`, as those of periods. */
export const moved = (buckets, move, per) => summedPer(buckets.map(({ day, ...bucket }) => ({ day: move(day), ...bucket })), per);

function summedPer(buckets, per) {
  const byDay = new Map();
  for (const { day, count, total } of buckets) {
    const first = PERIODS[per].firstOf(PERIODS[per].indexOf(day));
    const known = byDay.get(first);
    byDay.set(first, { day: first, count: known ? sum([known.count, count]) : count, total: known ? sum([known.total, total]) : total });
  }
  return [...byDay.values()];
}

/**
 * Places of the `buckets` of periods on an axis: `{per, start, slots, first, last, dayOf, bars: [{slot, day, count, total,
 * before}]}`, where `day` is the first day of a bar, and `before` the total of its place in the time `before`. Too many
 * months are drawn from the first purchase on, and those that are still too many as years.
 */
export function axisOf(buckets, { first, last, per }, before = []) {
  const begin = first === null || slotsOf(first, last, "month") > MAX_BARS.month ? (buckets[0]?.day ?? last) : first;
  const end = [last, buckets.at(-1)?.day ?? last].sort()[1];
  if (per === "month" && slotsOf(begin, end, per) > MAX_BARS.month) return axisOf(summedPer(buckets, "year"), { first: begin, last: end, per: "year" });
  const { indexOf, firstOf } = PERIODS[per];
  const [start, slots] = [indexOf(begin), slotsOf(begin, end, per)];
  const earlier = new Map(before.map(({ day, total }) => [day, total]));
  const bar = ({ day, ...bucket }) => ({ slot: indexOf(day) - start, day, ...bucket, before: earlier.get(day) });
  const known = new Set(buckets.map(({ day }) => day));
  const bars = [...buckets, ...before.filter(({ day }) => !known.has(day)).map(({ day }) => ({ day, count: "0", total: "0" }))].map(bar);
  const dayOf = (slot) => firstOf(start + slot);
  return { per, start, slots, first: dayOf(0), last: dayOf(slots - 1), dayOf, bars: bars.sort((a, b) => a.slot - b.slot) };
}

/** The steps of ticks that follow the calendar, where these are not all periods. */
const STEPS = { day: [7, 14, "month"], week: [], month: [3, 4, 6, 12, 24, 60], year: [5, 10, 20, 50, 100] };

/** The slots of an axis that have a tick: 3 to `most`, where there are as many. */
export function ticksOf({ per, start, slots }, most) {
  const all = Array.from({ length: slots }, (_, slot) => slot);
  const least = Math.min(3, slots);
  if (slots <= most) return all;
  // The day 4 of the calendar was a Monday.
  const isTick = (step) => (slot) => step === "month" ? dayOf(start + slot).endsWith("-01") : (start + slot - (per === "day" ? 4 : 0)) % step === 0;
  const found = STEPS[per].map((step) => all.filter(isTick(step))).find(({ length }) => length >= least && length <= most);
  const parts = [most - 1, most - 2, 2].find((parts) => parts >= 2 && (slots - 1) % parts === 0) ?? 2;
  return found ?? Array.from({ length: parts + 1 }, (_, at) => Math.round((at * (slots - 1)) / parts));
}
