// For operators: the purchases of everybody, of a user, or of all users of a name, and the search for one of these.

import { may } from "./access.js";
import { addressOf } from "./address.js";
import { names, page, purchase } from "./api.js";
import { Input } from "./input.js";
import { Loaded, useLoaded } from "./loaded.js";
import { html, useEffect } from "./preact.js";
import { mayBeId } from "./purchase.js";
import { Purchases } from "./purchases.js";

/** The maximum number of characters of a user ID; names have twice as many. */
const MAX_ID = 128;

/** `params` are those of the address: `find` is a text to search for, `by` and `who` are a user, the others a range. */
export function AnyPurchases({ params }) {
  const { by, who, find, ...range } = params;
  const isOne = ["userid", "username", "reference"].includes(by) && Boolean(who);
  const search = (event) => {
    event.preventDefault();
    location.hash = addressOf("purchases", { ...range, find: event.target.elements.who.value.trim() });
  };
  const whose = isOne ? { [by]: who } : { everyone: true };
  const title = !isOne ? "Everybody" : by === "userid" ? html`User <b>${who}</b>` : by === "reference" ? html`Reference <b>${who}</b>` : html`All users named <b>${who}</b>`;
  return html`<section class="ledger" aria-labelledby="whose">
    <form class="find" id="find" role="search" aria-label="Purchases" onSubmit=${search}>
      <label class="wide">User ID, beginning of a name, reference, or purchase ID <${Input} id="who" name="who" type="search" maxlength=${2 * MAX_ID} autocapitalize="none" autocomplete="off" spellcheck="false" placeholder="everybody" value=${find ?? (isOne ? who : "")} /></label>
      <button type="submit" class="quiet" id="find-button">Search</button>
    </form>
    ${find
      ? html`<${Found} key=${find} text=${find} range=${range} />`
      : !isOne && !may("list_everyone")
      ? html`<p class="intro" id="whose">Your access key lists the purchases of one user at a time. Search for a user.</p>`
      : html`<h3 id="whose">${title}</h3><${Purchases} whose=${whose} view="purchases" params=${params} showsUser />`}
  </section>`;
}

/** What `text` is: the ID of a purchase or of a user, a reference, the beginning of names. */
async function lookUp(text) {
  const isStored = async (whose) => (await page(whose, { limit: 1 })).items.length > 0;
  const isShort = [...text].length <= MAX_ID;
  const [found, isUser, isReference, byPrefix] = await Promise.all([
    mayBeId(text) ? purchase(text) : null, isShort && isStored({ userid: text }), isShort && isStored({ reference: text }), names(text),
  ]);
  // A store without an index of names has those that are given whole.
  const known = byPrefix ?? { items: (await isStored({ username: text })) ? [text] : [], isWhole: true };
  return { found, isUser, isReference, ...known };
}

/** The choices for a text that was searched for. If it is one thing only, that is shown in place of them. */
function Found({ text, range }) {
  const [state] = useLoaded(text, () => lookUp(text));
  const { found, isUser, isReference, items = [], has_more: hasMore, isWhole } = state.data ?? {};
  const listOf = (by, who) => addressOf("purchases", { ...range, by, who });
  const ids = [found && ["Purchase", text, addressOf("purchase", { id: found.id })], isUser && ["User ID", text, listOf("userid", text)], isReference && ["Reference", text, listOf("reference", text)]].filter(Boolean);
  const choices = [...ids, ...items.map((name) => ["Name", name, listOf("username", name)])];
  const isOnly = choices.length === 1 && choices[0][1] === text;
  // Going back does not lead here again.
  useEffect(() => void (isOnly && location.replace(choices[0][2])), [isOnly]);
  const unknown = html`No ${mayBeId(text) && "purchase and no "}user <b>${text}</b>`;
  const said = choices.length === 0 ? html`${unknown}, and no name that ${isWhole ? "is" : "begins with"} it.` : ids.length === 0 ? html`${unknown}; names that begin with it:` : "These match:";
  const shown = () => !isOnly && html`
    <p id="found-what" role="status">${said}</p>
    <ul class="found" id="found">${choices.map(([kind, name, address]) => html`<li><small>${kind}</small> <a draggable="false" href=${address}>${name}</a></li>`)}</ul>
    ${hasMore && html`<p class="note">There are more names. Enter more letters.</p>`}
    ${isWhole && html`<p class="note">To find a user by name here, enter the whole name, in the same case.</p>`}`;
  return html`<h3 id="whose">Search for <b>${text}</b></h3><${Loaded} id="search" state=${state} what="The search">${shown}<//>`;
}
