// What was spent over time, as bars. The sums are exact; only where a bar ends is a float.

import { grouped } from "./exact.js";
import { money, roughMoney } from "./money.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { axisOf, ticksOf } from "./ranges.js";
import { counted, dateInWords } from "./words.js";

const HEIGHT = 170;
const MARGIN = { top: 18, bottom: 24 };
/** The width of a character of a label, at most. */
const CHARACTER = 8;
/** The least number of bars for which there is room, so that few of them are not wide. */
const MIN_SLOTS = 7;
/** How many times the usual amount is drawn in full. */
const OUTLIER = 5;
const PERIODS = { day: "Day", week: "Week", month: "Month", year: "Year" };

const shortDay = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });

/** The name of the period that begins on this day, and the short one of a tick. */
const nameOf = (day, per) => (per === "year" ? day.slice(0, 4) : per === "week" ? `Week of ${dateInWords(day)}` : dateInWords(day, per));
const shortNameOf = (day, { per, slots }) => (per === "day" || (per === "week" && slots <= 53) ? shortDay.format(new Date(day)) : nameOf(day, per === "week" ? "month" : per));

/** The width of an element, from when it is shown. */
function useWidth() {
  const [width, setWidth] = useState(0);
  const element = useRef(null);
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setWidth(Math.floor(contentRect.width)));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}

/**
 * The bars of `buckets` in a `range`, in pale those `before`, and the same as a table. `switches` are shown beside the
 * caption. A value is read by pointing, by a touch, and by the keys of a slider, whose value is announced by its role.
 */
export function Bars({ buckets, before, range, switches }) {
  const [element, width] = useWidth();
  const [chosen, choose] = useState(null);
  const axis = axisOf(buckets, range, before?.buckets);
  const { bars, per } = axis;
  const scale = scaleOf(bars.flatMap(({ total, before = "0" }) => [Number(total), Number(before)]));
  const label = (day) => nameOf(day, per);
  const peak = peakOf(bars);
  const pointedAt = bars.find(({ day }) => day === chosen);
  const shown = pointedAt ?? peak;
  const inWords = ({ day, count, total, before }) => `${label(day)}: ${money(total)}, ${counted(count, "purchase")}${before === undefined ? "" : `; before: ${money(before)}`}`;
  const move = (event) => {
    const to = keyed(event.key, bars.indexOf(shown), bars.length);
    if (to === undefined) return;
    event.preventDefault();
    choose(bars[to].day);
  };
  const between = axis.slots === 1 ? label(axis.first) : `${label(axis.first)} to ${label(axis.last)}`;
  const name = `Spent per ${per}, ${between}: the maximum is ${money(peak.total)}, ${label(peak.day)}.`;
  const notes = [bars.some(({ before }) => before) && `Pale: ${before.words}.`, scale.isCut && "A broken bar is longer than the axis."].filter(Boolean);
  return html`<figure ref=${element}>
    <figcaption><span>Spent per ${per}</span>${switches}${notes.length > 0 && html`<small>${notes.join(" ")}</small>`}</figcaption>
    <p class="readout" id="bar">${pointedAt === undefined && "Maximum: "}${inWords(shown)}</p>
    <svg class="chart" id="chart" role="slider" tabindex="0" aria-label=${name} aria-valuemin="1" aria-valuemax=${bars.length} aria-valuenow=${bars.indexOf(shown) + 1} aria-valuetext=${inWords(shown)}
      width=${width} height=${HEIGHT} viewBox="0 0 ${width} ${HEIGHT}" onKeyDown=${move}>
      ${width > 0 && html`<${Shapes} axis=${axis} width=${width} scale=${scale} chosen=${chosen} choose=${choose} />`}
    </svg>
    <details>
      <summary>As a table</summary>
      <table class="plain">
        <thead><tr><th scope="col">${PERIODS[per]}</th><th scope="col" class="amount">Purchases</th><th scope="col" class="amount">Spent</th></tr></thead>
        <tbody>${bars.filter(isBar).map(({ day, count, total }) => html`<tr><td>${label(day)}</td><td class="amount">${grouped(count)}</td><td class="amount">${money(total)}</td></tr>`)}</tbody>
      </table>
    </details>
  </figure>`;
}

/** A period may have refunds alone. */
const isBar = ({ count, total }) => count !== "0" || Number(total) !== 0;

/** Where a key leads from the position `at` of `length`. */
function keyed(key, at, length) {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -7, PageUp: 7, Home: -length, End: length };
  return Object.hasOwn(steps, key) ? Math.min(Math.max(at + steps[key], 0), length - 1) : undefined;
}

function Shapes({ axis, width, scale: { ticks, top, low }, chosen, choose }) {
  const amounts = ticks.map((amount) => roughMoney(amount));
  const left = Math.max(...amounts.map(({ length }) => length)) * CHARACTER + 6;
  const bottom = HEIGHT - MARGIN.bottom;
  const step = (width - left) / Math.max(axis.slots, MIN_SLOTS);
  const gap = Math.min(step * 0.3, 8);
  const height = bottom - MARGIN.top;
  const y = (amount) => bottom - (top === low ? 0 : ((amount - low) / (top - low)) * height);
  const rect = (slot, amount, inset) => {
    const [x, across] = [left + slot * step + inset / 2, Math.max(step - inset, 1)];
    const { start, length } = extentOf(amount, { y, top, low, bottom });
    const cutAt = amount > top ? MARGIN.top + 8 : bottom - 4;
    return html`<rect class=${amount < 0 && "negative"} x=${x} y=${start} width=${across} height=${length} rx=${Math.min(2, step / 4)} />
      ${(amount > top || amount < low) && html`<path class="cut" d="M${x - 2} ${cutAt}l${across + 4} -6" />`}`;
  };
  const inset = axis.bars.some(({ before }) => before) ? gap + (step - gap) * 0.35 : gap;
  const most = Math.min(5, Math.max(3, Math.floor((width - left) / (shortNameOf(axis.first, axis).length * CHARACTER + 14))));
  const tick = (slot) => {
    const text = shortNameOf(axis.dayOf(slot), axis);
    const half = (text.length * CHARACTER) / 2;
    const middle = left + (slot + 0.5) * step;
    return html`<line x1=${middle} x2=${middle} y1=${bottom} y2=${bottom + 4} /><text x=${Math.min(Math.max(middle, half), width - half)} y=${HEIGHT - 6} text-anchor="middle">${text}</text>`;
  };
  const point = ({ clientX, currentTarget }) => {
    const slot = (clientX - currentTarget.getBoundingClientRect().left) / step - 0.5;
    choose(axis.bars.reduce((near, bar) => (Math.abs(bar.slot - slot) < Math.abs(near.slot - slot) ? bar : near)).day);
  };
  const highlit = axis.bars.find(({ day }) => day === chosen);
  return html`${highlit && html`<rect class="chosen" x=${left + highlit.slot * step} y="0" width=${Math.max(step, 3)} height=${bottom} />`}
    <g class="lines">${ticks.map((amount) => html`<line class=${low < 0 && amount === 0 && "zero"} x1=${left} x2=${width} y1=${y(amount)} y2=${y(amount)} />`)}</g>
    <g class="before">${axis.bars.map(({ slot, before }) => before && rect(slot, Number(before), gap / 2))}</g>
    <g class="bars">${axis.bars.filter(isBar).map(({ slot, total }) => rect(slot, Number(total), inset))}</g>
    <g class="labels">${ticks.map((amount, at) => html`<text x=${left - 6} y=${y(amount) + 4} text-anchor="end">${amounts[at]}</text>`)}${ticksOf(axis, most).map(tick)}</g>
    <rect class="pane" x=${left} y="0" width=${width - left} height=${HEIGHT} onPointerDown=${point} onPointerMove=${point} />`;
}

/** Where a bar begins at its upper end, and its length: above zero it grows up, and below zero down. */
function extentOf(amount, { y, top, low, bottom }) {
  const zero = y(0);
  if (amount > 0) {
    // What is cut goes on above the axis, and the least amount is visible.
    const end = amount > top ? 2 : Math.min(y(amount), zero - 2);
    return { start: end, length: zero - end };
  }
  if (amount === 0) return { start: zero, length: 0 };
  const end = amount < low ? bottom : Math.max(y(amount), zero + 2);
  return { start: zero, length: end - zero };
}

/**
 * The 3 to 5 ticks of an axis for these amounts, and its ends: `top`, and `low`, which is below 0 where more was refunded
 * than spent. Amounts of more than five times the 90th percentile, or of few the second highest, are beyond it, so that
 * the others can be compared.
 */
export function scaleOf(amounts) {
  const sizes = amounts.map(Math.abs).filter((size) => size > 0).sort((a, b) => b - a);
  if (sizes.length === 0) return { ticks: [0], top: 0, low: 0, isCut: false };

  const usual = sizes[Math.min(Math.max(1, Math.floor(sizes.length / 10)), sizes.length - 1)];
  const drawn = amounts.filter((amount) => Math.abs(amount) <= OUTLIER * usual);
  const most = Math.max(0, ...drawn);
  const least = Math.min(0, ...drawn);
  const power = 10 ** Math.floor(Math.log10(Math.max(most, -least)));
  const stepsFor = (step) => ({ above: Math.ceil(most / step), below: Math.ceil(-least / step) });
  const isFew = ({ above, below }) => above + below <= 4;
  const step = [0.5, 1, 2, 5].map((factor) => factor * power).find((step) => isFew(stepsFor(step)));

  const { above, below } = stepsFor(step);
  const ticks = Array.from({ length: above + below + 1 }, (_, at) => (at - below) * step);
  const [low, top] = [ticks[0], ticks.at(-1)];
  return { ticks, top, low, isCut: amounts.some((amount) => amount > top || amount < low) };
}

/** The highest bar of those with a purchase or a refund, which is the maximum of what is shown. */
export function peakOf(bars) {
  const known = bars.filter(isBar);
  return (known.length > 0 ? known : bars).reduce((most, bar) => (Number(bar.total) > Number(most.total) ? bar : most));
}
