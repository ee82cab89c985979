// For operators: whether purchases, users and orders come from the log into the store, and how far behind they are.

import { addressOf } from "./address.js";
import { totals } from "./api.js";
import { grouped, sum } from "./exact.js";
import { duration, problemsOf, readingsOf, rolesOf, waitingOf } from "./health.js";
import { linesOf } from "./history.js";
import { Loaded, useLoaded } from "./loaded.js";
import { moneyInShort } from "./money.js";
import { html } from "./preact.js";
import { zoneOf } from "./ranges.js";
import { counted, timeInWords } from "./words.js";

/** Heights and widths of the lines are in units of the picture. */
const LINE = { width: 300, height: 48 };
const TOTALS_INTERVAL = 60_000;

/** All are states of answers: `hour` is the last one in figures. */
export function Overview({ health, topics, hour }) {
  return html`<${Loaded} id="pipeline" state=${health} what="The state of the service">${(answer) => html`<${Readings} answer=${answer} hour=${hour} topics=${topics.data} />`}<//>
    <section class="slip" aria-labelledby="topics-title">
      <h2 id="topics-title">Topics</h2>
      <${Loaded} id="topics" state=${topics} what="The list of topics" empty="This process reads no topic.">${(list) => html`<${Topics} topics=${list} />`}<//>
    </section>`;
}

function Readings({ answer, hour, topics }) {
  const problems = problemsOf(answer);
  const roles = rolesOf(answer, topics);
  return html`
    ${problems.length === 0
      ? html`<p class="notice good" id="well">All is well: ${counted(roles.length, "role")} ${roles.length === 1 ? "runs" : "run"}, ${waitingOf(roles)}.</p>`
      : html`<div id="problems" role="alert"><ul class="causes">${problems.map((problem) => html`<${Cause} ...${problem} />`)}</ul></div>`}
    ${roles.map((role) => html`<section class="slip" aria-labelledby="${role.name}-title" key=${role.name}><${Role} role=${role} hour=${hour} /></section>`)}
    <p class="note" id="asked">As of ${timeInWords(answer.at)}</p>`;
}

function Cause({ text, action, leadsTo, runbook, isBad }) {
  return html`<li class=${isBad ? "notice bad" : "notice"}><b>${text}</b> ${leadsTo ? html`<a href=${addressOf(leadsTo)}>${action}</a>` : action} <${RunbookLink} of=${runbook} /></li>`;
}

/** The readings of purchases; those of another role behind a line. */
function Role({ role, hour }) {
  // The state of the service says what is wrong with it.
  const lines = { ...hour, problem: "" };
  const readings = readingsOf(role);
  const title = html`<h2 id="${role.name}-title">${role.name === "purchases" ? "Purchases" : role.name === "users" ? "Users" : "Orders"}</h2>`;
  if (role.name !== "purchases") return html`<details><summary>${title} ${role.ingest?.phase ?? "ingest elsewhere"}, ${waitingOf([role])}</summary><${Gauges} readings=${readings} /></details>`;
  return html`${title}
    <${Main} readings=${readings.filter(({ isMain }) => isMain)} />
    <${Loaded} id="history" state=${lines} what="The last hour">${(hour) => html`<${Lines} hour=${hour} />`}<//>
    <details><summary>Details</summary><${Gauges} readings=${readings.filter(({ isMain }) => !isMain)} /></details>`;
}

const RunbookLink = ({ of }) => html`<a class="runbook" href=${addressOf(of.toLowerCase())}>Runbook</a>`;

function Gauges({ readings }) {
  return html`<dl class="gauges">${readings.map(({ id, name, hint, value, leadsTo }) => html`<div>
    <dt>${name}</dt>
    <dd class="figures" id=${id}>${leadsTo ? html`<a href=${addressOf(leadsTo)}>${value}</a>` : value}</dd>
    <dd class="hint">${hint}</dd>
  </div>`)}</dl>`;
}

/** The main readings with the purchases of today beside those of yesterday, until the same time of the day. */
function Main({ readings }) {
  const [days] = useLoaded("days", async () => Promise.all([0, 1].map(spentOn)), TOTALS_INTERVAL);
  const day = (id, name, index) => {
    const known = days.is === "shown" ? days.data[index] : undefined;
    return { id, name, value: known ? moneyInShort(known.total) : "unknown", hint: known ? counted(known.count, "purchase") : "" };
  };
  return html`<${Gauges} readings=${[...readings, day("today", "Today", 0), day("yesterday", "Yesterday until this time", 1)]} />`;
}

/** The purchases of everybody with a time of today, or of the same part of an earlier day. */
async function spentOn(daysAgo) {
  const [from, to] = [new Date(), new Date()];
  from.setHours(0, 0, 0, 0);
  for (const time of [from, to]) time.setDate(time.getDate() - daysAgo);
  const range = { from: from.toISOString(), to: to.toISOString(), per: "day", zone: zoneOf(-from.getTimezoneOffset()) };
  const buckets = await totals({ everyone: true }, range);
  return { count: sum(buckets.map(({ count }) => count)), total: sum(buckets.map(({ total_spent: total }) => total)) };
}

/** What the service did in the last hour, as far as it has run. */
function Lines({ hour }) {
  const lines = linesOf(hour, LINE);
  if (lines.length === 0) return html`<p class="note">There are no rates yet: the process started less than ten seconds ago.</p>`;
  return html`<div class="lines-of">${lines.map(({ name, of, last, most, seconds, lines }) => html`<figure>
    <figcaption>${name} <span class="figures">${last}</span></figcaption>
    <svg class="line" role="img" aria-label="${name} in the last ${duration(seconds)}: at most ${most}" viewBox="0 -2 ${LINE.width} ${LINE.height + 4}" preserveAspectRatio="none">
      <line x1="0" x2=${LINE.width} y1=${LINE.height} y2=${LINE.height} />
      ${lines.map((points) => html`<polyline points=${points} />`)}
    </svg>
    <p class="hint">at most ${most} in ${duration(seconds)}; ${of}</p>
  </figure>`)}</div>`;
}

function Topics({ topics }) {
  const cell = (value, inWords, name = "") => html`<td class="amount ${name}">${value === undefined ? "unknown" : inWords(value)}</td>`;
  return html`<table class="plain">
    <thead><tr><th scope="col">Topic</th><th scope="col" class="amount">Oldest unread</th><th scope="col" class="amount retention">Retention</th><th scope="col" class="amount">Dead letters</th></tr></thead>
    <tbody>${topics.map(({ topic, oldestUnread, retention, deadLetters }) => html`<tr>
      <td class="who">${topic}</td>${cell(oldestUnread, (age) => (age === 0 ? "none" : duration(age)))}${cell(retention, (age) => duration(age), "retention")}${cell(deadLetters, (count) => grouped(String(count)))}
    </tr>`)}</tbody>
  </table>
  <p class="note">The age of the oldest record that ingest has not read, and how long the log keeps records. After that time, an unread record is lost. <${RunbookLink} of="ShopRetentionNear" /></p>`;
}
