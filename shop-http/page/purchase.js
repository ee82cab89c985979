// For operators: one purchase, which can be printed and refunded.

import { addressOf } from "./address.js";
import { purchase, refund } from "./api.js";
import { byId } from "./elements.js";
import { readAmount } from "./exact.js";
import { Loaded, useLoaded } from "./loaded.js";
import { inCurrency, money } from "./money.js";
import { html, useEffect, useState } from "./preact.js";
import { RecordingForm } from "./recording.js";
import { Bought, paidBack, usePurchasesOf } from "./rows.js";
import { dateFormat, whatOf } from "./words.js";

const local = dateFormat({ dateStyle: "full", timeStyle: "long" });

/** Whether the service may have a purchase with the ID `text`. Anything else could be part of another path. */
export const mayBeId = (text) => /^([\da-f]{24}|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12})$/i.test(text);

/** Whether it can be refunded is `refunds`. */
export function Purchase({ id = "", refunds = false }) {
  const [state] = useLoaded(id, async () => (mayBeId(id) ? purchase(id) : null));
  const empty = html`No purchase with the ID <b>${id}</b> is stored.`;
  return html`<section class="ledger" aria-label="Purchase">
    <${Loaded} id="purchase" state=${state} what="The purchase" empty=${empty}>${(found) => html`<${Facts} of=${found} />`}<//>
    ${state.is === "shown" && refunds && !state.data.of && !state.data.refunded && html`<${Refund} of=${state.data} />`}
    <p class="actions">
      <a id="all" href=${addressOf("purchases")}>All purchases</a>
      ${state.is === "shown" && html`<button type="button" class="quiet" id="print" onClick=${() => window.print()}>Print</button>`}
    </p>
  </section>`;
}

/** The amount of a refund as a person has entered it; nothing for the whole price. */
export function readRefund(text) {
  if (text === "") return { value: undefined };
  const { amount, problem } = readAmount(text);
  return { value: amount, problem };
}

/** Asks for the amount and the reason, and refunds a purchase. */
function Refund({ of: { id, price, currency } }) {
  const [isAsked, ask] = useState(false);
  const [recorded, setRecorded] = useState(null);
  useEffect(() => void (isAsked && byId("amount").focus()), [isAsked]);
  const fields = [
    { id: "amount", member: "amount", label: `${inCurrency("Amount", currency)}; if you enter none, all ${money(price, currency)} are refunded`, class: "figures", inputmode: "decimal", read: readRefund },
    { id: "reason", member: "reason", label: "Reason (optional)", maxlength: 256, read: (text) => ({ value: text || undefined }) },
  ];
  const onRecorded = (refund) => {
    setRecorded(refund.id);
    return `Refunded ${money(paidBack(refund.price), refund.currency)}.`;
  };
  if (!isAsked) return html`<p class="actions"><button type="button" class="quiet danger" id="refund-ask" onClick=${() => ask(true)}>Refund…</button></p>`;
  return html`<div class="outcome" role="group" aria-label="Refund">
    <${RecordingForm} id="refund" thing="refund of ${id}" fields=${fields} fixed=${{ id }} button="Refund" send=${refund} onRecorded=${onRecorded} />
    ${recorded && html`<p><a id="refunded" href=${addressOf("purchase", { id: recorded })}>Show the refund</a></p>`}
  </div>`;
}

function Facts({ of: found }) {
  const { id, userid, username, price, timestamp, currency, reference, of, reason, refunded, ...what } = found;
  const bought = usePurchasesOf([found]).get(of);
  const listOf = (by, who) => html`<a draggable="false" href=${addressOf("purchases", { range: "all", by, who })}>${who}</a>`;
  const facts = [
    ["ID", html`<span class="id">${id}</span>`],
    ["User ID", listOf("userid", userid)],
    ["Name", listOf("username", username)],
    whatOf(what) && ["What", whatOf(what)],
    ["Price", html`<span class="figures">${money(price, currency)}</span>`],
    refunded && ["Refunded", html`<span class="figures">${money(refunded, currency)}</span>`],
    bought && ["Refund of", html`${whatOf(bought) || "a purchase"} <${Bought} purchase=${bought} isForOperators />`],
    of && ["Purchase", html`<a class="id" href=${addressOf("purchase", { id: of })}>${of}</a>`],
    reason && ["Reason", reason],
    reference && ["Reference", listOf("reference", reference)],
    ["Local time", local.format(new Date(timestamp))],
    ["UTC", html`<time datetime=${timestamp}>${timestamp}</time>`],
    ["Receipt", html`Stored. <small>The durability and the position in the log are only in the response to the purchase. They are not stored.</small>`],
  ];
  return html`<dl class="facts">${facts.filter(Boolean).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}
