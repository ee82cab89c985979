// The rows of a list of purchases and refunds.

import { addressOf } from "./address.js";
import { Refusal, purchase } from "./api.js";
import { money } from "./money.js";
import { html, useEffect, useState } from "./preact.js";
import { localDayOf } from "./ranges.js";
import { dayInWords, timeInWords, whatOf } from "./words.js";

/**
 * The `items` of a list, those that are `pending` first, as a table. `amount` writes a price. For operators, `range` is
 * what links to users keep of the address, and each purchase has a page.
 */
export function Rows({ items, pending, fresh, range, amount }) {
  const boughtBy = usePurchasesOf(items);
  const refunds = new Map(items.filter(({ of }) => of).map((refund) => [refund.of, refund]));
  const all = [...pending, ...withRefunds(items)];
  const hasWhat = all.some(({ item, reference, of }) => item || reference || of);
  const row = (item, at) => {
    const above = all[at - 1];
    // The row above has its purchase, or another refund of that.
    const isAttached = item.of !== undefined && [above?.id, above?.of].includes(item.of);
    return html`<${Row} key=${item.id} item=${item} refund=${refunds.get(item.id)} bought=${boughtBy.get(item.of)} isAttached=${isAttached}
      isPending=${at < pending.length} isFresh=${fresh.has(item.id)} range=${range} amount=${amount} hasWhat=${hasWhat} />`;
  };
  return html`<table class="entries">
    <thead><tr><th scope="col" class="when">When</th>${range && html`<th scope="col" class="who">Who</th>`}${hasWhat && html`<th scope="col" class="who">What</th>`}<th scope="col" class="ref">ID</th><th scope="col" class="amount">Price</th></tr></thead>
    <tbody id="purchases">${all.map(row)}</tbody>
  </table>`;
}

/** One purchase with its `refund`, or one refund of what was `bought`, as far as these are known. */
function Row({ item, refund, bought, isAttached, isPending, isFresh, range, amount, hasWhat }) {
  const { id, username, userid, price, currency, timestamp, reference } = item;
  const link = (view, params, text) => (range ? html`<a draggable="false" href=${addressOf(view, params)}>${text}</a>` : text);
  const listOf = (by, who) => link("purchases", { ...range, by, who }, who);
  const classes = [isPending && "pending", isFresh && "fresh", isAttached && "attached"].filter(Boolean);
  const what = item.of ? link("purchase", { id: item.of }, refundInWords(item, bought)) : whatOf(item);
  return html`<tr data-id=${id} class=${classes.join(" ")}>
    <td class="when">${isAttached && html`<span aria-hidden="true">↳ </span>`}${isPending && html`<span class="tag">pending</span> `}${link("purchase", { id }, html`<time datetime=${timestamp} title=${timestamp}>${dayInWords(timestamp)} <small>${timeInWords(timestamp)}</small></time>`)}</td>
    ${range && html`<td class="who"><span class="name">${listOf("username", username)}</span> <small>${listOf("userid", userid)}</small></td>`}
    ${hasWhat && html`<td class="who">
      <span class="name">${what}</span>${" "}
      ${reference && html`<small>${listOf("reference", reference)}</small> `}
      ${refund && html`<small class="refunded">${link("purchase", { id: refund.id }, `refunded ${money(paidBack(refund.price), refund.currency)}`)}</small>`}
      ${bought && !isAttached && html`<small class="bought"><${Bought} purchase=${bought} isForOperators=${Boolean(range)} /></small>`}
    </td>`}
    <td class="ref ${range ? "" : "short"}"><small title=${id}>${link("purchase", { id }, range ? id : id.slice(-12))}</small></td>
    <td class="amount" title=${money(price, currency)}>${amount(price, currency)}</td>
  </tr>`;
}

/** When a purchase was bought, and its price; it leads to what its user bought on that day. */
export function Bought({ purchase: { userid, timestamp, price, currency }, isForOperators }) {
  const day = localDayOf(timestamp);
  const whose = isForOperators ? { by: "userid", who: userid } : {};
  return html`bought <a draggable="false" href=${addressOf("purchases", { from: day, to: day, ...whose })}>${dayInWords(timestamp)}</a> for ${money(price, currency)}`;
}

/** The amount of a refund without its sign. */
export const paidBack = (price) => price.replace("-", "");

/** What a refund is of and why, such as `Refund of 2 × coffee · late`; `bought` is its purchase, if that is known. */
export function refundInWords({ reason }, bought) {
  const what = bought && whatOf(bought);
  const subject = what ? `Refund of ${what}` : "Refund of a purchase";
  return reason ? `${subject} · ${reason}` : subject;
}

/** The `items` with each refund below its purchase, where that is among them; the others keep their places. */
export function withRefunds(items) {
  const listed = new Set(items.map(({ id }) => id));
  const refundsOf = (id) => items.filter(({ of }) => of === id);
  const entries = items.filter(({ of }) => !listed.has(of));
  return entries.flatMap((item) => [item, ...refundsOf(item.id)]);
}

/** The purchases of the refunds among the `items`, by their IDs. Those that are not listed are looked up one by one. */
export function usePurchasesOf(items) {
  const [lookedUp, setLookedUp] = useState(new Map());
  const listed = new Map(items.map((item) => [item.id, item]));
  const wanted = items.map(({ of }) => of).filter(Boolean);
  const unknown = wanted.find((id) => !listed.has(id) && !lookedUp.has(id));
  useEffect(() => {
    if (unknown === undefined) return undefined;
    let isOver = false;
    const lookUp = async () => {
      const found = await purchase(unknown).catch(nothing);
      if (!isOver) setLookedUp((known) => new Map(known).set(unknown, found));
    };
    lookUp();
    return () => void (isOver = true);
  }, [unknown]);
  return new Map(wanted.map((id) => [id, listed.get(id) ?? lookedUp.get(id) ?? undefined]));
}

/** A refund whose purchase cannot be read is shown without it. */
function nothing(error) {
  if (!(error instanceof Refusal)) throw error;
  return null;
}
