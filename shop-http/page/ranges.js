// Ranges of days in one zone, as the address of a view and the parameters of the service write them. Days are texts such
// as `2026-11-22`; their arithmetic is that of days since 1970.

const MINUTE = 60_000;
const DAY = 86_400_000;
/** The most days that are drawn as such. */
const MAX_DAYS = 92;

/** The ranges that have a name. */
export const PRESETS = { "7d": "7 days", "30d": "30 days", "12m": "12 months", all: "All time" };
const DEFAULT = "30d";

const numberOf = (day) => Date.parse(`${day}T00:00:00Z`) / DAY;
const dayOf = (number) => new Date(number * DAY).toISOString().slice(0, 10);
const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text ?? "") && dayOfNumber(text) === text;
const dayOfNumber = (text) => (Number.isNaN(numberOf(text)) ? "" : dayOf(numberOf(text)));
const monthOf = (day) => Number(day.slice(0, 4)) * 12 + Number(day.slice(5, 7)) - 1;
const firstOfMonth = (month) => `${String(Math.floor(month / 12)).padStart(4, "0")}-${String((month % 12) + 1).padStart(2, "0")}-01`;

/** The day of a time at `offset` minutes east of UTC. */
export const dayAt = (time, offset) => dayOf(Math.floor((new Date(time).getTime() + offset * MINUTE) / DAY));

/** An offset in minutes east of UTC, as `+01:00`. */
export function zoneOf(offset) {
  const minutes = Math.abs(offset);
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  return `${offset < 0 ? "-" : "+"}${two(minutes / 60)}:${two(minutes % 60)}`;
}

/**
 * The range that the parameters of an address name, today being the day of `now` at `offset`: `{name, first, last, per,
 * canBeDaily, offset}`. `first` is null for all time; without a valid range it is the default one.
 */
export function rangeOf({ range, from, to, per }, now, offset) {
  const today = dayAt(now, offset);
  let [name, first, last] = [Object.hasOwn(PRESETS, range ?? "") ? range : DEFAULT, null, today];
  if (range === undefined && isDay(from) && isDay(to) && from <= to) [name, first, last] = ["custom", from, to];
  else if (name === "12m") first = firstOfMonth(monthOf(today) - 11);
  else if (name !== "all") first = dayOf(numberOf(today) - (name === "7d" ? 6 : 29));
  const canBeDaily = first !== null && numberOf(last) - numberOf(first) < MAX_DAYS;
  return { name, first, last, per: !canBeDaily || per === "month" ? "month" : "day", canBeDaily, offset, isOpen: last >= today };
}

/** `from` and `to` of the service. A range up to today has no end: purchases are added to it. */
export function boundsOf({ first, last, offset, isOpen }) {
  const midnight = (day) => `${day}T00:00:00${zoneOf(offset)}`;
  return { from: first === null ? undefined : midnight(first), to: isOpen ? undefined : midnight(dayOf(numberOf(last) + 1)) };
}

/**
 * Places of the `buckets` on an axis of days or months: `{slots, first, last, bars: [{slot, day, count, total}]}`, where
 * `day` is the first day of a bar.
 */
export function axisOf(buckets, { first, last, per, offset }) {
  const index = per === "month" ? monthOf : numberOf;
  const back = per === "month" ? firstOfMonth : dayOf;
  const days = buckets.map(({ from }) => dayAt(from, offset));
  const start = index(first ?? days[0] ?? last);
  const end = Math.max(index(last), ...days.map(index));
  const bars = buckets.map(({ count, total_spent: total }, at) => ({ slot: index(days[at]) - start, day: back(index(days[at])), count, total }));
  return { slots: end - start + 1, first: back(start), last: back(end), bars };
}
