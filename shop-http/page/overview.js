// For operators: whether purchases, users and orders come from the log into the store, and how far behind they are.

import { addressOf } from "./address.js";
import { grouped } from "./exact.js";
import { duration, problemsOf, readingsOf, rolesOf, waitingOf } from "./health.js";
import { pointsOf } from "./history.js";
import { Loaded } from "./loaded.js";
import { html } from "./preact.js";
import { counted, timeInWords } from "./words.js";

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
  const [problems, roles] = [problemsOf(answer), rolesOf(answer)];
  return html`
    ${problems.length === 0
      ? html`<p class="notice good" id="well">All is well: ${counted(roles.length, "role")} ${roles.length === 1 ? "runs" : "run"}, ${waitingOf(roles)}.</p>`
      : html`<div id="problems" role="alert"><ul class="causes">${problems.map((problem) => html`<${Cause} ...${problem} />`)}</ul></div>`}
    ${roles.map((role) => html`<section class="slip" aria-labelledby="${role.name}-title" key=${role.name}><${Role} role=${role} samples=${samples} /></section>`)}
    <p class="note" id="asked">As of ${timeInWords(answer.at)}</p>`;
}

function Cause({ text, action, leadsTo, runbook, isBad }) {
  return html`<li class=${isBad ? "notice bad" : "notice"}><b>${text}</b> ${leadsTo ? html`<a href=${addressOf(leadsTo)}>${action}</a>` : action} <${RunbookLink} of=${runbook} /></li>`;
}

/** The readings of purchases; those of another role behind a line. */
function Role({ role, samples }) {
  const readings = readingsOf(role);
  const title = html`<h2 id="${role.name}-title">${role.name === "purchases" ? "Purchases" : role.name === "users" ? "Users" : "Orders"}</h2>`;
  if (role.name !== "purchases") return html`<details><summary>${title} ${role.ingest?.phase ?? "ingest elsewhere"}, ${waitingOf([role])}</summary><${Gauges} readings=${readings} /></details>`;
  return html`${title}
    <${Gauges} readings=${readings.filter(({ isMain }) => isMain)} />
    <${Lines} samples=${samples} />
    <details><summary>Details</summary><${Gauges} readings=${readings.filter(({ isMain }) => !isMain)} /></details>`;
}

const RunbookLink = ({ of }) => html`<a class="runbook" href=${addressOf(of.toLowerCase())}>Runbook</a>`;

function Gauges({ readings }) {
  return html`<dl class="gauges">${readings.map(({ id, name, hint, value, isMain, leadsTo }) => html`<div class=${isMain ? "main" : undefined}>
    <dt>${name}</dt>
    <dd class="figures" id=${id}>${leadsTo ? html`<a href=${addressOf(leadsTo)}>${value}</a>` : value}</dd>
    <dd class="hint">${hint}</dd>
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
  <p class="note">How long the oldest record that ingest has not read is in the log, and how long the log keeps it: beyond that it is lost. <${RunbookLink} of="ShopRetentionNear" /></p>`;
}
