// A runbook, as management serves it.

import { runbooks } from "./api.js";
import { Loaded, useLoaded } from "./loaded.js";
import { partsOf, sectionsOf } from "./markdown.js";
import { html } from "./preact.js";

const shown = ({ code, bold, link, to }) =>
  code ? html`<code>${code}</code>` : bold ? html`<strong>${bold.map(part)}</strong>` : to?.startsWith("#") ? html`<a href=${to}>${link.map(part)}</a>` : link.map(part);
const part = (one) => (typeof one === "string" ? one : shown(one));
const inline = (line) => partsOf(line).map(part);

const rowOf = (cell, texts) => html`<tr>${texts.map((text) => html`<${cell}>${inline(text)}<//>`)}</tr>`;
const tableOf = ([head, ...rows]) => html`<table><thead>${rowOf("th", head)}</thead><tbody>${rows.map((row) => rowOf("td", row))}</tbody></table>`;
const itemOf = ([first, ...rest]) => html`<li>${first?.kind === "p" ? inline(first.text) : first && block(first)}${rest.map(block)}</li>`;

function block({ kind, text, rows, start, items }) {
  if (kind === "p") return html`<p>${inline(text)}</p>`;
  if (kind === "pre") return html`<pre><code>${text}</code></pre>`;
  if (kind === "table") return tableOf(rows);
  return html`<${kind} start=${start}>${items.map(itemOf)}<//>`;
}

/** The runbook of this name; all, where there is none. */
export function Runbook({ name }) {
  const [state] = useLoaded("runbooks", runbooks);
  return html`<section class="ledger" aria-label="Runbook"><${Loaded} id="runbook" state=${state} what="The runbook">${(text) => {
    const all = sectionsOf(text);
    const one = name === "runbooks" ? [] : all.filter(({ anchors }) => anchors.includes(name.toLowerCase()));
    return html`${(one.length > 0 ? one : all).map(({ title, blocks }) => html`<h3>${title}</h3>
      ${blocks.map(block)}`)}
      ${one.length > 0 && html`<p class="note"><a href="#runbooks">All runbooks</a></p>`}`;
  }}<//></section>`;
}
