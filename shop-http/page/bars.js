// What was spent over time, as bars. The sums are exact; only where a bar ends is a float.

import { forPeople, grouped } from "./exact.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { axisOf } from "./ranges.js";
import { counted, dateInWords } from "./words.js";

const HEIGHT = 170;
const MARGIN = { top: 22, bottom: 24 };
/** The least number of bars for which there is room, so that few of them are not wide. */
const MIN_SLOTS = 7;

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

/** The bars of `buckets` in a `range`, and the same as a table. `switches` are shown beside the caption. */
export function Bars({ buckets, range, switches }) {
  const [element, width] = useWidth();
  const axis = axisOf(buckets, range);
  const label = (day) => dateInWords(day, range.per);
  const peak = axis.bars.reduce((most, bar) => (Number(bar.total) > Number(most.total) ? bar : most));
  const between = axis.slots === 1 ? label(axis.first) : `${label(axis.first)} to ${label(axis.last)}`;
  const inWords = `Spent per ${range.per}, ${between}: the maximum is ${forPeople(peak.total)}, ${label(peak.day)}.`;
  return html`<figure ref=${element}>
    <figcaption><span>Spent per ${range.per}</span>${switches}</figcaption>
    <svg class="chart" role="img" aria-label=${inWords} width=${width} height=${HEIGHT} viewBox="0 0 ${width} ${HEIGHT}">
      ${width > 0 && html`<${Shapes} axis=${axis} width=${width} most=${Number(peak.total)} label=${label} />`}
    </svg>
    <details>
      <summary>As a table</summary>
      <table class="plain">
        <thead><tr><th scope="col">${range.per === "month" ? "Month" : "Day"}</th><th scope="col" class="amount">Purchases</th><th scope="col" class="amount">Spent</th></tr></thead>
        <tbody>${axis.bars.map(({ day, count, total }) => html`<tr><td>${label(day)}</td><td class="amount">${grouped(count)}</td><td class="amount">${forPeople(total)}</td></tr>`)}</tbody>
      </table>
    </details>
  </figure>`;
}

function Shapes({ axis, width, most, label }) {
  const top = roundedUp(most);
  const bottom = HEIGHT - MARGIN.bottom;
  const step = width / Math.max(axis.slots, MIN_SLOTS);
  const gap = Math.min(step * 0.3, 8);
  const y = (amount) => bottom - (top === 0 ? 0 : (amount / top) * (bottom - MARGIN.top));
  const bar = ({ slot, day, count, total }) => {
    const height = Math.max(bottom - y(Number(total)), Number(total) > 0 ? 2 : 0);
    return html`<rect x=${slot * step + gap / 2} y=${bottom - height} width=${Math.max(step - gap, 1)} height=${height} rx=${Math.min(2, step / 4)}>
      <title>${label(day)}: ${forPeople(total)}, ${counted(count, "purchase")}</title>
    </rect>`;
  };
  const last = Math.min(axis.slots * step, width);
  return html`<g class="lines">${[0, top / 2, top].map((amount) => html`<line x1="0" x2=${width} y1=${y(amount)} y2=${y(amount)} />`)}</g>
    <g class="bars">${axis.bars.map(bar)}</g>
    <g class="labels">
      <text x="0" y=${MARGIN.top - 7}>${axisLabel(top)}</text>
      <text x="0" y=${HEIGHT - 6}>${label(axis.first)}</text>
      ${last > 220 && html`<text x=${last} y=${HEIGHT - 6} text-anchor="end">${label(axis.last)}</text>`}
    </g>`;
}

/** A rounded amount for people, without what a float adds to it. */
function axisLabel(amount) {
  return forPeople(amount.toFixed(8).replace(/\.?0+$/, ""));
}

/** The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, … */
export function roundedUp(number) {
  if (number === 0) return 0;
  const power = 10 ** Math.floor(Math.log10(number));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((round) => round >= number) ?? 10 * power;
}
