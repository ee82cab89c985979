// For operators: whether purchases, users and orders come from the log into the store, and how far behind they are.

import { addressOf } from "./address.js";
import { grouped } from "./exact.js";
import { duration, entityReadingsOf, portsOf, problemsOf, readingsOf } from "./health.js";
import { pointsOf } from "./history.js";
import { Loaded } from "./loaded.js";
import { html } from "./preact.js";
import { timeInWords } from "./words.js";

const RUNBOOKS = document.querySelector('meta[name="runbooks"]').content;
/** Whether they are somewhere that a link leads to. */
const HAS_ADDRESS = /^https?:/.test(RUNBOOKS);
/** Heights and widths of the lines are in units of the picture. */
const LINE = { width: 300, height: 48 };
const LINES = [
  { member: "lag", name: "Consumer lag", inWords: (value) => grouped(String(value)) },
  { member: "freshness", name: "Freshness", inWords: (value) => duration(value, 1000) },
  { member: "deadLetters", name: "Dead letters", inWords: (value) => grouped(String(value)) },
];

/** `health` and `topics` are states of answers, `samples` those of the last hour. */
export function Overview({ health, topics, samples }) {
  return html`<${Loaded} id="pipeline" state=${health} what="The state of the service">${(answer) => html`<${Readings} answer=${answer} samples=${samples} />`}<//>
    <section class="slip" aria-labelledby="topics-title">
      <h2 id="topics-title">Topics</h2>
      <${Loaded} id="topics" state=${topics} what="The list of topics" empty="This process reads no topic.">${(list) => html`<${Topics} topics=${list} />`}<//>
    </section>`;
}

function Readings({ answer, samples }) {
  const problems = problemsOf(answer);
  return html`
    ${problems.length > 0 && html`<div class="notice bad" id="problems" role="alert"><ul>${problems.map(({ text, runbook }) => html`<li>${text} <${Runbook} at=${runbook} /></li>`)}</ul></div>`}
    <section class="slip" aria-labelledby="purchases-title">
      <h2 id="purchases-title">Purchases</h2>
      <${Gauges} readings=${[...readingsOf(answer.ingest), ...portsOf(answer)]} hasHints />
      <${Lines} samples=${samples} />
    </section>
    <div class="pair">
      ${["users", "orders"].filter((name) => answer[name]).map((name) => html`<section class="slip" aria-labelledby="${name}-title">
        <h2 id="${name}-title">${name === "users" ? "Users" : "Orders"}</h2>
        <${Gauges} readings=${[...readingsOf(answer[name].events, `${name}-`), ...entityReadingsOf(answer[name], `${name}-`)]} />
      </section>`)}
    </div>
    <p class="note" id="asked">As of ${timeInWords(answer.at)}</p>`;
}

/** A link into the runbook, or its place in the repository where the page does not know an address. */
function Runbook({ at }) {
  const place = `${RUNBOOKS}#${at.toLowerCase()}`;
  return HAS_ADDRESS ? html`<a class="runbook" href=${place} rel="noreferrer">Runbook</a>` : html`<code class="runbook">${place}</code>`;
}

function Gauges({ readings, hasHints }) {
  return html`<dl class="gauges">${readings.map(({ id, name, hint, value, isBad, isMain, leadsTo, runbook }) => html`<div class="${isMain && "main"} ${isBad && "bad"}">
    <dt>${name}</dt>
    <dd class="figures" id=${id}>${leadsTo ? html`<a href=${addressOf(leadsTo)}>${value}</a>` : value}</dd>
    ${(hasHints || isBad) && html`<dd class="hint">${hint}</dd>`}
    ${isBad && HAS_ADDRESS && html`<dd><${Runbook} at=${runbook} /></dd>`}
  </div>`)}</dl>`;
}

/** What has changed in the last hour, since the page was opened. */
function Lines({ samples }) {
  if (samples.length < 2) return html`<p class="note">Lines of the last hour are drawn here while this page is open.</p>`;
  const now = samples.at(-1).at;
  return html`<div class="lines-of" id="history">${LINES.map(({ member, name, inWords }) => {
    const { most, lines } = pointsOf(samples, member, { ...LINE, now });
    return html`<figure>
      <figcaption>${name}, the last hour</figcaption>
      <svg class="line" role="img" aria-label="${name} since ${timeInWords(samples[0].at)}: at most ${inWords(most)}" viewBox="0 -2 ${LINE.width} ${LINE.height + 4}" preserveAspectRatio="none">
        <line x1="0" x2=${LINE.width} y1=${LINE.height} y2=${LINE.height} />
        ${lines.map((points) => html`<polyline points=${points} />`)}
      </svg>
      <p class="hint">since ${timeInWords(samples[0].at)}, at most ${inWords(most)}</p>
    </figure>`;
  })}</div>`;
}

function Topics({ topics }) {
  const cell = (value, inWords, name = "") => html`<td class="amount ${name}">${value === undefined ? "unknown" : inWords(value)}</td>`;
  return html`<table class="plain">
    <thead><tr><th scope="col">Topic</th><th scope="col" class="amount">Oldest unread</th><th scope="col" class="amount retention">Retention</th><th scope="col" class="amount">Dead letters</th></tr></thead>
    <tbody>${topics.map(({ topic, oldestUnread, retention, deadLetters }) => html`<tr>
      <td class="who">${topic}</td>${cell(oldestUnread, (age) => (age === 0 ? "none" : duration(age)))}${cell(retention, (age) => duration(age), "retention")}${cell(deadLetters, (count) => grouped(String(count)))}
    </tr>`)}</tbody>
  </table>
  <p class="note">How long the oldest record that ingest has not read is in the log, and how long the log keeps it: beyond that it is lost. <${Runbook} at="ShopRetentionNear" /></p>`;
}
