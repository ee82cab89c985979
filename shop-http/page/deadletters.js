// For operators: the pending dead letters, gaps and stuck records, and one dead letter with its record.

import { addressOf } from "./address.js";
import { deadLetter, deadLetters } from "./api.js";
import { forPeople, grouped } from "./exact.js";
import { duration } from "./health.js";
import { Input } from "./input.js";
import { Loaded, useLoaded } from "./loaded.js";
import { money } from "./money.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { Resolve } from "./resolving.js";
import { counted, dayInWords, sentence, timeInWords } from "./words.js";

/** The number of dead letters that are shown at first, and that each "More" adds. */
const LIMIT = 50;
/** The most that the service lists at once. */
const MAX_LIMIT = 1000;
const INTERVAL = 3000;
/** The most characters of a value in the list. */
const MAX_PREVIEW = 80;
const REASONS = {
  undecodable: "cannot be decoded", conflict: "conflict with a stored record", refused: "refused by the store", parked: "parked by an operator", gap: "gap: lost by the log",
};
const VIEW = "dead-letters";

/** `found` in the order of `shown`, with what is new at the end: no row moves under the pointer. */
export function inPlace(shown, found) {
  const places = new Map(shown.map(({ position }, place) => [position, place]));
  const placeOf = ({ position }) => places.get(position) ?? places.size;
  return [...found].sort((one, other) => placeOf(one) - placeOf(other));
}

/** The pending dead letters by reason: those of a whole list, which is exact, and others as they were last counted. */
export function countsOf(list, { topic, reason, since }, topics = []) {
  const counts = {};
  for (const { topic: name, byReason = {} } of topics) {
    for (const [reason, count] of Object.entries(byReason)) if (!since && (!topic || name === topic)) counts[reason] = (counts[reason] ?? 0) + count;
  }
  if (list && list.next !== null) return counts;
  for (const one of reason ? [reason] : Object.keys(REASONS)) if (list) counts[one] = list.items.filter(({ reason }) => reason === one).length;
  return counts;
}

/**
 * The dead letters of the filter in the address, `params`, and the one at its `position`, if one is opened: beside it the
 * list is kept, with what is selected. `topics` is a state.
 */
export function DeadLetters({ params: { position, ...filter }, topics }) {
  const [chosen, choose] = useState(new Set());
  const key = JSON.stringify(filter);
  const asked = { ...filter, since: instantOf(filter.since) };
  const [state, ask] = useLoaded(key, async (shown) => {
    const found = await deadLetters({ ...asked, limit: Math.min(Math.max(LIMIT, shown?.items.length ?? 0), MAX_LIMIT) });
    return found.items.length + found.stuck.length === 0 ? null : { ...found, items: inPlace(shown?.items ?? [], found.items) };
  }, INTERVAL);
  const more = () => ask(async (shown) => {
    const { items, next, stuck } = await deadLetters({ ...asked, limit: LIMIT, cursor: shown.next });
    return { items: [...shown.items, ...items], next, stuck };
  });
  const onResolved = () => {
    choose(new Set());
    ask();
  };
  useEffect(() => choose(new Set()), [key]);
  const keptFocus = useKeptFocus();
  const isFiltered = Object.keys(filter).length > 0;
  const empty = html`No dead letters${isFiltered ? html` of this kind. <a href=${addressOf(VIEW)}>Show all</a>` : "."}`;
  const shown = ({ items, next, stuck }) => html`
    <${Stuck} records=${stuck} onParked=${() => ask()} />
    ${items.length === 0 ? html`<p class="intro">${empty}</p>` : html`<${Rows} items=${items} filter=${filter} chosen=${chosen} choose=${choose} />`}
    ${next && html`<div class="below"><button type="button" class="quiet" id="more" onClick=${more}>More</button></div>`}`;
  const selected = (state.data?.items ?? []).filter(({ position }) => chosen.has(position));
  const list = state.is === "empty" ? { items: [], next: null } : state.data;
  return html`
    ${position && html`<${One} key=${position} position=${position} back=${addressOf(VIEW, filter)} onResolved=${() => ask()} />`}
    <section class="ledger" aria-label="Pending dead letters" hidden=${Boolean(position)} ...${keptFocus}>
      <${Filter} filter=${filter} topics=${topics} onReload=${() => ask()} />
      <${Reasons} filter=${filter} counts=${countsOf(list, filter, topics.data)} />
      <${Loaded} id="dead-letter-list" state=${state} what="The list" empty=${empty}>${shown}<//>
      <${Resolve} id="selected" letters=${selected} subject="${counted(selected.length, "dead letter")} selected" onResolved=${onResolved} />
    </section>`;
}

/** The attributes of an element that gets the focus when what has it vanishes, such as a row that another operator resolves. */
function useKeptFocus() {
  const [ref, last] = [useRef(null), useRef(null)];
  useEffect(() => {
    if (last.current && !last.current.isConnected && document.activeElement === document.body) ref.current.focus();
  });
  return { ref, tabindex: "-1", onFocusCapture: ({ target }) => (last.current = target) };
}

/** The time that an input for a local day and time has, as the service reads it. */
function instantOf(text) {
  const time = new Date(text ?? "");
  return Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}

function Filter({ filter, topics, onReload }) {
  const show = (event) => {
    event.preventDefault();
    const { topic, reason, since } = event.target.elements;
    const address = addressOf(VIEW, { topic: topic.value, reason: reason.value, since: since.value });
    if (address === location.hash) onReload();
    else location.hash = address;
  };
  const known = new Set([...(topics.data ?? []).map(({ topic }) => topic), ...(filter.topic ? [filter.topic] : [])]);
  const option = (value, chosen, text = value) => html`<option value=${value} selected=${value === chosen}>${text}</option>`;
  return html`<form class="find" id="filter" role="search" aria-label="Dead letters" onSubmit=${show}>
    <label>Topic <select name="topic" id="topic">${option("", filter.topic ?? "", "all")}${[...known].sort().map((topic) => option(topic, filter.topic))}</select></label>
    <label>Reason <select name="reason" id="reason">${option("", filter.reason ?? "", "all")}${Object.keys(REASONS).map((reason) => option(reason, filter.reason))}</select></label>
    <label>Since <${Input} type="datetime-local" name="since" id="since" value=${filter.since ?? ""} /></label>
    <button type="submit" class="quiet" id="filter-button">Show</button>
  </form>`;
}

/** A link for each reason, with the number of dead letters. */
function Reasons({ filter, counts }) {
  const shown = Object.keys(REASONS).filter((reason) => counts[reason] > 0 || reason === filter.reason);
  const link = (reason, text) => html`<li key=${reason}><a href=${addressOf(VIEW, { ...filter, reason })} title=${REASONS[reason]} aria-current=${reason === filter.reason ? "true" : undefined}>${text}</a></li>`;
  const withCount = (reason) => link(reason, counts[reason] === undefined ? reason : `${reason} ${grouped(String(counts[reason]))}`);
  return shown.length > 0 && html`<nav class="reasons" aria-label="Reasons"><ul class="choices small" id="reasons">${link(undefined, "All")}${shown.map(withCount)}</ul></nav>`;
}

/** Records that a store does not accept: ingest retries them, and they are no dead letters yet. */
function Stuck({ records, onParked }) {
  if (records.length === 0) return null;
  const item = ({ topic, partition, offset, id, age_seconds: age, error, detail }) => {
    const position = `${topic}-${partition}-${offset}`;
    return html`<li key=${position}><b>${position}</b> ${id && html`<small>${id}</small> `}for ${duration(age)}: ${sentence(detail || error)} To continue without it, park it: it becomes a dead letter.
      <${Resolve} id="stuck-${position}" letters=${[{ position }]} hows=${["park"]} onResolved=${onParked} /></li>`;
  };
  return html`<div class="notice bad" id="stuck-records"><p>Ingest is stuck, and retries:</p><ul>${records.map(item)}</ul></div>`;
}

function Rows({ items, filter, chosen, choose }) {
  const toggle = (positions, isChosen) => {
    const all = new Set(chosen);
    for (const position of positions) isChosen ? all.add(position) : all.delete(position);
    choose(all);
  };
  const all = items.map(({ position }) => position);
  const row = ({ position, time, reason, detail, id, lost, purchase, preview }) => html`<tr key=${position} data-position=${position}>
    <td class="check"><input type="checkbox" id="select-${position}" aria-label="Select ${position}" checked=${chosen.has(position)} onChange=${({ target }) => toggle([position], target.checked)} /></td>
    <td class="who"><a href=${addressOf(VIEW, { ...filter, position })}>${position}</a> <small><${When} time=${time} /></small></td>
    <td class="who"><span class="tag">${reason}</span> ${purchase && html`<b class="figures">${money(purchase.price, purchase.currency)}</b> ${purchase.username} `}${purchase && html`<small>${purchase.userid}</small>`}
      ${!(purchase && reason === "conflict") && html`<small>${lost === undefined ? withoutReason(textOf(detail), reason) : lostInWords(lost)}</small>`}
      ${!purchase && preview && html`<small class="id">${shortened(preview)}</small>`} <small class="id">${id}</small></td>
  </tr>`;
  return html`<table class="letters">
    <thead><tr>
      <th class="check"><input type="checkbox" id="select-all" aria-label="Select all that are shown" checked=${all.every((position) => chosen.has(position))} onChange=${({ target }) => toggle(all, target.checked)} /></th>
      <th scope="col">Record</th><th scope="col">Reason</th>
    </tr></thead>
    <tbody id="letters">${items.map(row)}</tbody>
  </table>`;
}

const When = ({ time }) => html`<time datetime=${time} title=${time}>${dayInWords(time)} ${timeInWords(time)}</time>`;
const shortened = (text) => ([...text].length > MAX_PREVIEW ? `${[...text].slice(0, MAX_PREVIEW).join("")}…` : text);
const lostInWords = (lost) => `${counted(lost, "record")} lost; it cannot be replayed`;
/** Bytes that are no text are in base64. */
const textOf = (bytes) => (typeof bytes === "object" && bytes !== null ? `base64: ${bytes.base64}` : bytes);

/** The reason in words begins with its kind. */
const withoutReason = (detail, reason) => (detail.startsWith(`${reason}: `) ? detail.slice(reason.length + 2) : detail);

/** One dead letter with its record. */
function One({ position, back, onResolved }) {
  const [state] = useLoaded(position, () => deadLetter(position));
  const [isPending, setPending] = useState(true);
  const resolved = () => {
    setPending(false);
    onResolved();
  };
  const shown = (letter) => html`
    <${Resolve} id="one" letters=${isPending ? [letter] : []} hows=${letter.lost === undefined ? undefined : ["discard"]} onResolved=${resolved} />
    <${Facts} letter=${letter} />`;
  return html`<section class="ledger" aria-labelledby="one-title">
    <p class="back"><a id="back" href=${back}>Back to the list</a></p>
    <h3 id="one-title">Dead letter <b>${position}</b></h3>
    <${Loaded} id="dead-letter" state=${state} what="The dead letter">${shown}<//>
  </section>`;
}

function Facts({ letter: { time, reason, detail, attempts, version, cluster, id, lost, record, purchase, stored } }) {
  const facts = [
    ["Reason", REASONS[reason] ?? reason], ["Detail", withoutReason(textOf(detail), reason)], ["Time", html`<${When} time=${time} />`], ["ID", id], ["Attempts", grouped(attempts)],
    ["Written by", textOf(version) && `version ${textOf(version)}`], ["Cluster", cluster], ["Lost", lost === undefined ? null : lostInWords(lost)],
  ];
  return html`${purchase && html`<${Compared} received=${purchase} stored=${stored} isConflict=${reason === "conflict"} />`}
    <dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    ${lost === undefined && html`<${Content} record=${record} />`}`;
}

/** A purchase as it was received, and beside it the one that is stored under its ID. What makes them a conflict is marked. */
function Compared({ received, stored, isConflict }) {
  const members = [["Name", ({ username }) => username], ["User ID", ({ userid }) => userid], ["Price", ({ price }) => forPeople(price)]];
  for (const [title, name] of [["What", "item"], ["Quantity", "quantity"], ["Currency", "currency"], ["Reference", "reference"], ["Refund of", "of"], ["Reason", "reason"]]) {
    if (name in { ...received, ...stored }) members.push([title, (one) => one[name]]);
  }
  const when = ({ timestamp }) => html`<${When} time=${timestamp} />`;
  const row = ([name, read]) => {
    const differs = stored && read(received) !== read(stored);
    return html`<tr><th scope="row">${name}${differs && ", differs"}</th><td>${read(received)}</td>${stored && html`<td>${differs ? html`<mark>${read(stored)}</mark>` : read(stored)}</td>`}</tr>`;
  };
  return html`<table class="compared" id="compared">
    <thead><tr><td></td><th scope="col">Received</th>${stored && html`<th scope="col">Stored</th>`}</tr></thead>
    <tbody>${members.map(row)}<tr><th scope="row">Time</th><td>${when(received)}</td>${stored && html`<td>${when(stored)}</td>`}</tr></tbody>
  </table>
  ${isConflict && !stored && html`<p class="note">What is stored under this ID is not known.</p>`}
  <p class="note">To erase all data of this user: <code>management erase user '${received.userid.replaceAll("'", "'\\''")}'</code></p>`;
}

/** The key, the headers and the value of a record, as they are in the log. */
function Content({ record: { key, headers, value } }) {
  const bytes = (bytes) => (bytes === null ? html`<i>none</i>` : textOf(bytes));
  return html`<dl class="facts record">
    <div><dt>Key</dt><dd>${bytes(key)}</dd></div>
    ${headers.map(({ name, value }) => html`<div><dt>Header ${textOf(name)}</dt><dd>${bytes(value)}</dd></div>`)}
    <div><dt>Value</dt><dd><pre id="value" tabindex="0" aria-label="Value">${bytes(value)}</pre></dd></div>
  </dl>`;
}
