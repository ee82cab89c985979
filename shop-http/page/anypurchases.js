// For operators: the purchases of everybody, of a user, or of all users of a name.

import { addressOf } from "./address.js";
import { Input } from "./input.js";
import { html } from "./preact.js";
import { Purchases } from "./purchases.js";

export function AnyPurchases({ params }) {
  const { by, who, ...range } = params;
  const isOne = ["userid", "username"].includes(by) && Boolean(who);
  const show = (event) => {
    event.preventDefault();
    const { by, who } = event.target.elements;
    const text = who.value.trim();
    location.hash = addressOf("purchases", text ? { ...range, by: by.value, who: text } : range);
  };
  const whose = isOne ? { [by]: who } : { everyone: true };
  const title = !isOne ? "Everybody" : by === "userid" ? html`User <b>${who}</b>` : html`All users named <b>${who}</b>`;
  return html`<section class="ledger" aria-labelledby="whose">
    <form class="find" id="find" role="search" aria-label="Purchases of a user" onSubmit=${show}>
      <label>By <select name="by" id="by"><option value="userid">user ID</option><option value="username" selected=${by === "username"}>name</option></select></label>
      <label class="wide">Exactly <${Input} id="who" name="who" type="search" autocapitalize="none" autocomplete="off" spellcheck="false" placeholder="everybody" value=${isOne ? who : ""} /></label>
      <button type="submit" class="quiet" id="find-button">Show</button>
    </form>
    <h3 id="whose">${title}</h3>
    <${Purchases} whose=${whose} view="purchases" params=${params} showsUser />
  </section>`;
}
