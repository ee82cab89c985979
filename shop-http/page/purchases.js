// Purchases of a user, of a name or of everybody in a range: their number and sum, bars, rows, and the export.

import { Refusal, exported, page, totals } from "./api.js";
import { addressOf } from "./address.js";
import { Bars } from "./bars.js";
import { useEvents } from "./events.js";
import { grouped, percentMore } from "./exact.js";
import { Input } from "./input.js";
import { Loaded, useLoaded } from "./loaded.js";
import { money, moneyInShort } from "./money.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { PRESETS, beforeOf, boundsOf, moved, offsetsOf, periodTotals, rangeOf, summed, zoneOf } from "./ranges.js";
import { Rows } from "./rows.js";
import { counted, dateInWords, sentence } from "./words.js";

/** The number of purchases that are shown at first, and that each "More" adds. */
const LIMIT = 25;
/** How long the service waits with an answer until the purchase that was bought here is in it, in seconds. */
const WAIT = 10;
const PERIODS = { day: "Days", week: "Weeks", month: "Months" };
const FILES = [["CSV", "text/csv", "csv"], ["NDJSON", "application/x-ndjson", "ndjson"]];

/**
 * `whose` selects them; `params` are those of the address of `view`, in which the range is. `bought` are purchases that
 * this page has recorded, the newest first, of which `onListed` gets the IDs of those that are stored. `none` is shown
 * where there are none at all.
 */
export function Purchases({ whose, view, params, showsUser, bought = [], onListed, none = "No purchases yet." }) {
  const range = rangeOf(params, Date.now());
  const bounds = boundsOf(range);
  const key = JSON.stringify([whose, bounds, range.per]);
  const [isExact, setExact] = useState(false);
  const amount = isExact ? money : moneyInShort;
  const isAny = useRef(true);
  const load = async (shown, waitFor) => {
    const found = await first({ whose, range, bounds, shown, waitFor });
    if (!found) isAny.current = range.first !== null && (await page(whose, { limit: 1 })).items.length > 0;
    return found;
  };
  const [state, ask, refresh] = useLoaded(key, (shown) => newer({ whose, bounds, shown, load }));
  useEvents(whose, range.isOpen && state.is !== "loading", (stored) => refresh((shown) => newer({ whose, bounds, shown, stored, load })));
  const latest = bought[0]?.id;
  useEffect(() => void (latest && state.is !== "loading" && refresh((shown) => load(shown, latest))), [latest]);
  const listed = new Set(state.data?.items.map(({ id }) => id));
  useEffect(() => void (bought.some(({ id }) => listed.has(id)) && onListed(listed)), [state.data, latest]);
  const pending = range.isOpen ? bought.filter(({ id }) => !listed.has(id)) : [];
  const more = () => ask(async (shown) => {
    const { items, next } = await page(whose, { ...bounds, limit: LIMIT, cursor: shown.next });
    return { ...shown, items: [...shown.items, ...items], next, fresh: new Set() };
  });
  const isRounded = ({ spent, items }) => [spent, ...[...pending, ...items].map(({ price }) => price)].some((text) => moneyInShort(text) !== money(text));
  const shown = (data) => html`
    <${Totals} data=${data} amount=${amount} button=${isRounded(data) && html`<button type="button" class="link" id="exact" onClick=${() => setExact(!isExact)}>Show ${isExact ? "rounded" : "exact"} amounts</button>`} />
    ${data.buckets.length > 0 && html`<${Bars} buckets=${data.buckets} before=${data.before} range=${range} switches=${html`<${PerSwitch} view=${view} params=${params} range=${range} />`} />`}
    <${Rows} items=${data.items} pending=${pending} fresh=${data.fresh} range=${showsUser && withoutUser(params)} amount=${amount} />
    <div class="below">
      ${data.next && html`<button type="button" class="quiet" id="more" onClick=${more}>More</button>`}
      <${Export} whose=${whose} bounds=${bounds} range=${range} />
    </div>
    ${data.hasNewer && html`<p class="notice dock" role="status">Newer purchases are stored. <button type="button" class="link" id="newest" onClick=${() => ask(load)}>Show them</button></p>`}`;
  const empty = isAny.current ? html`No purchases in this range. <a href=${addressOf(view, { ...withoutRange(params), range: "all" })}>Show all time</a>` : none;
  const isRefused = range.name === "30d" && (params.range ?? params.from ?? params.to ?? "30d") !== "30d";
  return html`<${Range} view=${view} params=${params} range=${range} />
    ${isRefused && html`<p class="notice offer" role="status">This range is not valid; the last 30 days are shown.</p>`}
    ${state.is !== "shown" && pending.length > 0 && html`<${Rows} items=${[]} pending=${pending} fresh=${new Set()} range=${showsUser && withoutUser(params)} amount=${amount} />`}
    <${Loaded} id="list" state=${state} what="The list" empty=${pending.length === 0 && empty}>${shown}<//>`;
}

/** The first rows and the totals; with `waitFor`, when that purchase is among them, or has not come in time. */
async function first({ whose, range, bounds, shown, waitFor }) {
  const asked = { ...bounds, limit: LIMIT, waitFor, wait: WAIT };
  const sums = () => totalsOf(whose, range, bounds);
  const before = earlier(whose, range);
  // What is waited for is in the totals, too.
  const [{ items, next }, buckets] = waitFor ? [await page(whose, asked), await sums()] : await Promise.all([page(whose, asked), sums()]);
  if (items.length === 0) return null;
  const known = new Set(shown?.items.map(({ id }) => id));
  const fresh = new Set(shown ? items.map(({ id }) => id).filter((id) => !known.has(id)) : []);
  return { items, next, before: await before, fresh, ...withSums(buckets), hasNewer: false };
}

/** The totals of the periods of a range between these bounds, which the service sums once for each offset of the zone. */
async function totalsOf(whose, range, { from, to }) {
  const per = range.per === "month" ? "month" : "day";
  const answerIn = async (offset) => ({ offset, buckets: await totals(whose, { from, to, per, zone: zoneOf(offset) }) });
  return periodTotals(range, await Promise.all(offsetsOf(range).map(answerIn)));
}

function withSums(buckets) {
  const { count, total } = summed(buckets);
  return { buckets, count, spent: total };
}

/** The same of the time of the same length before a range, its buckets in their places in the range; null without an answer. */
async function earlier(whose, range) {
  const before = beforeOf(range, Date.now());
  try {
    if (before === null) return null;
    const buckets = moved(await totalsOf(whose, before, before), before.move, range.per);
    return { words: before.words, ...withSums(buckets) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return null;
  }
}

/**
 * What is `shown` with what was `stored` since, or may have been, which `load` gets. A list that is everybody's or longer
 * than a page stays as it is, and says so.
 */
async function newer({ whose, bounds, shown, stored, load }) {
  if (!shown) return load();
  if (shown.hasNewer) return shown;
  const newest = stored ?? (await page(whose, { ...bounds, limit: 1 })).items;
  const known = new Set(shown.items.map(({ id }) => id));
  if (newest.every(({ id, timestamp }) => known.has(id) || timestamp < bounds.from)) return shown;
  return whose.everyone || shown.items.length > LIMIT ? { ...shown, hasNewer: true } : load(shown);
}

function withoutRange({ range, from, to, per, ...others }) {
  return others;
}

/** Leads to the named ranges, and to one between two days. */
function Range({ view, params, range }) {
  const others = withoutRange(params);
  const show = (event) => {
    event.preventDefault();
    const { from, to } = event.target.elements;
    const [start, end] = [from.value, to.value].sort();
    if (start && end) location.hash = addressOf(view, { ...others, from: start, to: end });
  };
  const named = Object.entries(PRESETS).map(
    ([name, text]) => html`<li><a href=${addressOf(view, { ...others, range: name })} aria-current=${range.name === name ? "true" : undefined}>${text}</a></li>`,
  );
  return html`<div class="range">
    <nav aria-label="Range"><ul class="choices">${named}</ul></nav>
    <form class="dates" onSubmit=${show} aria-label="Range between two days">
      <label>From <${Input} type="date" name="from" id="from" value=${range.first ?? ""} required /></label>
      <label>to <${Input} type="date" name="to" id="to" value=${range.last} required /></label>
      <button type="submit" class="quiet" id="show-range">Show</button>
    </form>
  </div>`;
}

/** Leads to the same per day, week or month, as far as they can be drawn. */
function PerSwitch({ view, params, range }) {
  if (range.choices.length === 1) return null;
  const link = (per) => html`<li><a href=${addressOf(view, { ...params, per })} aria-current=${range.per === per ? "true" : undefined}>${PERIODS[per]}</a></li>`;
  return html`<nav aria-label="Bars"><ul class="choices small">${range.choices.map(link)}</ul></nav>`;
}

/** `amount` writes one for people, and `button` changes how. */
function Totals({ data: { count, spent, before, items }, amount, button }) {
  const change = (now, then) => {
    const percent = before ? percentMore(now, then) : null;
    if (percent === null) return null;
    const more = percent === 0 ? "About the same as" : `${grouped(String(Math.abs(percent)))} % ${percent > 0 ? "more" : "less"} than`;
    return html`<dd class="hint">${more} ${before.words}</dd>`;
  };
  return html`<dl class="totals">
    <div><dt>Purchases</dt><dd class="figures" id="count">${grouped(count)}</dd>${change(count, before?.count)}</div>
    <div><dt>Total spent</dt><dd class="figures" id="total" title=${money(spent)}>${amount(spent)}</dd>${change(spent, before?.spent)}${button && html`<dd class="hint">${button}</dd>`}</div>
  </dl>
  <p class="unseen" role="status">${counted(count, "purchase")} for ${amount(spent)} in total, ${grouped(items.length)} shown.</p>`;
}

function withoutUser({ by, who, find, ...range }) {
  return range;
}

/** Saves everything that is selected as a file. */
function Export({ whose, bounds, range }) {
  const [said, say] = useState({ text: "" });
  const save = async (name, mediaType, extension) => {
    const controller = new AbortController();
    const onProgress = (bytes) => say({ name, text: "Exporting…", bytes, cancel: () => controller.abort() });
    onProgress(0);
    try {
      const file = await exported(whose, bounds, mediaType, { signal: controller.signal, onProgress });
      download(file, `purchases-${whose.everyone ? "all" : Object.values(whose)[0]}-${range.first ?? "start"}-${range.last}.${extension}`);
      say({ text: `Exported for ${range.first ? `${dateInWords(range.first)} to ${dateInWords(range.last)}` : "all time"}.` });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      say({ text: `Nothing was exported${controller.signal.aborted ? "." : `: ${sentence(error.message)}`}`, isBad: true });
    }
  };
  const button = ([name, mediaType, extension]) => html`<button type="button" class="link" id="export-${extension}" aria-disabled=${said.cancel && said.name !== name ? "true" : undefined}
    onClick=${({ detail }) => detail < 2 && (!said.cancel ? save(name, mediaType, extension) : said.name === name && said.cancel())}>${said.name === name ? "Cancel" : name}</button>`;
  return html`<div class="export">
    <span>Export as</span>
    ${FILES.map(button)}
    <span class="answer ${said.isBad && "bad"}" id="export-answer" role="status">${said.text}</span>
    ${said.bytes > 0 && html`<span class="figures" id="export-size">${grouped(String(Math.ceil(said.bytes / 1000)))} kB</span>`}
  </div>`;
}

/** Saves `file` under this name. */
export function download(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
