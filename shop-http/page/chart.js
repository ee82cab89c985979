// What was spent over time, as bars. The sums are exact; only where a bar ends is a float.

import { draw, make } from "./elements.js";
import { forPeople, sum } from "./exact.js";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** The maximum number of bars, and the minimum for which there is room. */
const MAX_BARS = 42;
const MIN_BARS = 10;
const HEIGHT = 150;
const MARGIN = { top: 20, bottom: 22 };

/** Milliseconds in the time of this place. */
const local = (date) => date.getTime() - date.getTimezoneOffset() * MINUTE;
const format = (options) => {
  const formatter = new Intl.DateTimeFormat(undefined, options);
  return (date) => formatter.format(date);
};
const evenly = (name, length, label, offset = 0) => ({
  name,
  index: (date) => Math.floor((local(date) - offset) / length),
  label,
});
const atTime = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
const onDay = { day: "numeric", month: "short", year: "numeric" };

/** What a bar can stand for, the shortest first. */
const UNITS = [
  evenly("minute", MINUTE, format(atTime)),
  evenly("hour", HOUR, format(atTime)),
  evenly("day", DAY, format(onDay)),
  // The first of 1970 was a Thursday.
  evenly("week", 7 * DAY, format(onDay), 4 * DAY),
  {
    name: "month",
    index: (date) => date.getFullYear() * 12 + date.getMonth(),
    label: format({ month: "short", year: "numeric" }),
  },
  { name: "year", index: (date) => date.getFullYear(), label: format({ year: "numeric" }) },
];

/** The bars of purchases: `{unit, bars: [{index, date, total}]}`, the oldest first; only where something was bought. */
export function bars(purchases) {
  const dated = purchases
    .map(({ timestamp, price }) => ({ date: new Date(timestamp), price }))
    .sort((one, other) => one.date - other.date);
  const width = (unit) => unit.index(dated.at(-1).date) - unit.index(dated[0].date) + 1;
  const unit = UNITS.find((unit) => width(unit) <= MAX_BARS) ?? UNITS.at(-1);
  const groups = new Map();
  for (const { date, price } of dated) {
    const index = unit.index(date);
    const group = groups.get(index) ?? { index, date, prices: [] };
    group.prices.push(price);
    groups.set(index, group);
  }
  return { unit, bars: [...groups.values()].map(({ index, date, prices }) => ({ index, date, total: sum(prices) })) };
}

/** A chart of purchases. It changes when it is given others, and when its place gets another width. */
export class Chart {
  #picture = draw("svg", { role: "img", class: "chart" });
  #caption = make("figcaption");
  #rows = make("tbody");
  #items = null;
  #drawn = null;
  #of = "";
  #width = 0;

  constructor() {
    const head = make("tr", {}, make("th", { scope: "col" }, "From"), make("th", { scope: "col", class: "amount" }, "Spent"));
    const table = make("table", {}, make("thead", {}, head), this.#rows);
    const asTable = make("details", {}, make("summary", {}, "The chart as a table"), table);
    this.element = make("figure", {}, this.#caption, this.#picture, asTable);
    new ResizeObserver(([{ contentRect }]) => {
      if (Math.abs(contentRect.width - this.#width) < 1) return;
      this.#width = contentRect.width;
      this.#draw();
    }).observe(this.element);
  }

  /** Shows these purchases; `of` says in a sentence which they are. */
  show(purchases, of) {
    if (purchases === this.#items && of === this.#of) return;
    this.#items = purchases;
    this.#of = of;
    this.element.hidden = purchases.length === 0;
    this.#drawn = purchases.length === 0 ? null : bars(purchases);
    this.#draw();
  }

  #draw() {
    if (!this.#drawn || this.#width === 0) return;
    const { unit, bars } = this.#drawn;
    const [first, last] = [bars[0], bars.at(-1)];
    const most = bars.reduce((most, bar) => (Number(bar.total) > Number(most.total) ? bar : most));
    this.#caption.replaceChildren(`Spent per ${unit.name}. ${this.#of}`);
    this.#picture.replaceChildren(...shapes(unit, bars, this.#width, Number(most.total)));
    this.#picture.setAttribute("viewBox", `0 0 ${this.#width} ${HEIGHT}`);
    this.#picture.setAttribute("height", HEIGHT);
    const between = first === last ? `on ${unit.label(first.date)}` : `from ${unit.label(first.date)} to ${unit.label(last.date)}`;
    const peak = `the maximum, ${forPeople(most.total)}, in the ${unit.name} of ${unit.label(most.date)}`;
    this.#picture.setAttribute("aria-label", `Chart of what was spent per ${unit.name}, ${between}: ${peak}. ${this.#of}`);
    const row = ({ date, total }) =>
      make("tr", {}, make("td", {}, unit.label(date)), make("td", { class: "amount" }, forPeople(total)));
    this.#rows.replaceChildren(...bars.map(row));
  }
}

function shapes(unit, bars, width, most) {
  const top = roundedUp(most);
  const from = Math.min(bars[0].index, bars.at(-1).index - MIN_BARS + 1);
  const step = width / Math.max(bars.at(-1).index - from + 1, MIN_BARS);
  const bottom = HEIGHT - MARGIN.bottom;
  const y = (amount) => bottom - (top === 0 ? 0 : (amount / top) * (bottom - MARGIN.top));
  const line = (amount) => draw("line", { x1: 0, x2: width, y1: y(amount), y2: y(amount) });
  const bar = ({ index, date, total }) => {
    const height = Math.max(bottom - y(Number(total)), Number(total) > 0 ? 2 : 0);
    const gap = Math.min(step * 0.3, 8);
    const place = { x: (index - from) * step + gap / 2, y: bottom - height, width: Math.max(step - gap, 1), height, rx: 2 };
    const title = draw("title", {}, `${unit.label(date)}: ${forPeople(total)}`);
    return draw("rect", place, title);
  };
  const label = (x, y, anchor, text) => draw("text", { x, y, "text-anchor": anchor }, text);
  const [first, last] = [bars[0], bars.at(-1)];
  const middle = (bar) => (bar.index - from + 0.5) * step;
  const labels = [label(width, HEIGHT - 5, "end", unit.label(last.date))];
  if (middle(first) < width - 180) labels.push(label(Math.max(middle(first) - step / 2, 0), HEIGHT - 5, "start", unit.label(first.date)));
  return [
    draw("g", { class: "lines" }, ...[0, top / 2, top].map(line)),
    draw("g", { class: "bars" }, ...bars.map(bar)),
    draw("g", { class: "labels" }, label(0, MARGIN.top - 6, "start", axisLabel(top)), ...labels),
  ];
}

/** A rounded amount for people, without what a float adds to it. */
function axisLabel(amount) {
  return forPeople(amount.toFixed(8).replace(/\.?0+$/, ""));
}

/** The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, … */
function roundedUp(number) {
  if (number === 0) return 0;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((round) => round >= number) ?? 10 * power;
}
