// For operators: one purchase, which can be printed.

import { addressOf } from "./address.js";
import { purchase } from "./api.js";
import { forPeople } from "./exact.js";
import { Loaded, useLoaded } from "./loaded.js";
import { html } from "./preact.js";
import { dateFormat, whatOf } from "./words.js";

const local = dateFormat({ dateStyle: "full", timeStyle: "long" });

/** Whether the service may have a purchase with the ID `text`. Anything else could be part of another path. */
export const mayBeId = (text) => /^([\da-f]{24}|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12})$/i.test(text);

export function Purchase({ id = "" }) {
  const [state] = useLoaded(id, async () => (mayBeId(id) ? purchase(id) : null));
  const empty = html`No purchase with the ID <b>${id}</b> is stored.`;
  return html`<section class="ledger" aria-label="Purchase">
    <${Loaded} id="purchase" state=${state} what="The purchase" empty=${empty}>${(found) => html`<${Facts} of=${found} />`}<//>
    <p class="actions">
      <a id="all" href=${addressOf("purchases")}>All purchases</a>
      ${state.is === "shown" && html`<button type="button" class="quiet" id="print" onClick=${() => window.print()}>Print</button>`}
    </p>
  </section>`;
}

function Facts({ of: { id, userid, username, price, timestamp, currency, reference, ...what } }) {
  const listOf = (by, who) => html`<a draggable="false" href=${addressOf("purchases", { range: "all", by, who })}>${who}</a>`;
  const facts = [
    ["ID", html`<span class="id">${id}</span>`],
    ["User ID", listOf("userid", userid)],
    ["Name", listOf("username", username)],
    whatOf(what) && ["What", whatOf(what)],
    ["Price", html`<span class="figures">${forPeople(price)}</span> ${currency}`],
    reference && ["Reference", listOf("reference", reference)],
    ["Local time", local.format(new Date(timestamp))],
    ["UTC", html`<time datetime=${timestamp}>${timestamp}</time>`],
    ["Receipt", html`Stored. <small>Durability and position in the log are in the response to the purchase alone: they are not stored.</small>`],
  ];
  return html`<dl class="facts">${facts.filter(Boolean).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
