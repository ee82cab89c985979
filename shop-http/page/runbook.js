// A runbook, as management serves it.

import { runbooks } from "./api.js";
import { Loaded, useLoaded } from "./loaded.js";
import { partsOf, sectionsOf } from "./markdown.js";
import { html } from "./preact.js";

const shown = ({ code, bold, link, to }) =>
  code ? html`<code>${code}</code>` : bold ? html`<strong>${bold.map(part)}</strong>` : to?.startsWith("#") ? html`<a href=${to}>${link.map(part)}</a>` : link.map(part);
const part = (one) => (typeof one === "string" ? one : shown(one));
const inline = (line) => partsOf(line).map(part);

/** The runbook of this name; all, where there is none. */
export function Runbook({ name }) {
  const [state] = useLoaded("runbooks", runbooks);
  return html`<section class="ledger" aria-label="Runbook"><${Loaded} id="runbook" state=${state} what="The runbook">${(text) => {
    const all = sectionsOf(text);
    const one = name === "runbooks" ? [] : all.filter(({ anchor }) => anchor === name.toLowerCase());
    return html`${(one.length > 0 ? one : all).map(({ title, blocks }) => html`<h3>${title}</h3>
      ${blocks.map(({ kind, texts }) => (kind === "p" ? texts.map((line) => html`<p>${inline(line)}</p>`) : html`<${kind}>${texts.map((line) => html`<li>${inline(line)}</li>`)}<//>`))}`)}
      ${one.length > 0 && html`<p class="note"><a href="#runbooks">All runbooks</a></p>`}`;
  }}<//></section>`;
}
