// The page of facing, for a customer: buy, and see what was bought.

import { hasKey, subject } from "./access.js";
import { useAddress } from "./address.js";
import { Refusal, buy, health, page } from "./api.js";
import { forPeople, readAmount } from "./exact.js";
import { keepIdentity, keptIdentity } from "./identity.js";
import { inCurrency, money } from "./money.js";
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { Purchases } from "./purchases.js";
import { Field, RecordingForm } from "./recording.js";
import { SignedIn } from "./signin.js";
import { read, write } from "./storage.js";

const CHECK_INTERVAL = 10_000;
/** How long a purchase can be undone before it is sent. */
const HOLD = 5000;
/** How long a name is looked up before the page goes on without. */
const LOOK_UP = 3000;
/** The name under which purchases are kept until they are listed. */
const BOUGHT = "bought";
const PRICE = {
  id: "price", member: "price", label: inCurrency("Price"), class: "figures", inputmode: "decimal", placeholder: forPeople("0"), required: true,
  read: (text) => {
    const { amount, problem } = readAmount(text);
    return { value: amount, problem };
  },
};

const ITEM = { id: "item", member: "item", label: "Item (optional)", maxlength: 256, read: (text) => ({ value: text || undefined }) };

function Customer() {
  const [identity, setIdentity] = useState(knownIdentity);
  const [service, checkService] = useService();
  const [address] = useAddress();
  const [bought, setBought] = useState(() => read(BOUGHT) ?? []);
  useEffect(() => write(BOUGHT, bought), [bought]);
  const change = (identity) => {
    keepIdentity(identity, hasKey());
    setIdentity(identity);
  };
  const isLoaded = useRef(false);
  useEffect(() => {
    // What is entered next gets the focus, but not where the page is opened.
    if (isLoaded.current) document.querySelector("main input:not([readonly])").focus();
    isLoaded.current = true;
  }, [identity]);
  const onRecorded = (purchase) => {
    setBought((bought) => [purchase, ...bought]);
    return `Bought for ${money(purchase.price, purchase.currency)}, and recorded.`;
  };
  const onListed = (ids) => setBought((bought) => bought.filter(({ id }) => !ids.has(id)));
  if (!identity) return html`${service}<${Identify} onIdentified=${change} />`;
  const { userid, username } = identity;
  const none = html`No purchases yet for user ID <b>${userid}</b>. Is the ID right? <button type="button" class="link" onClick=${() => change(null)}>Change</button>`;
  return html`${service}<div class="purchases">
    <section class="slip" aria-labelledby="buy-title">
      <h2 id="buy-title">Buy</h2>
      <p class="me">As <b id="me">${username}</b> <small>${userid}</small> <button type="button" class="link" id="change" onClick=${() => change(null)}>Change</button></p>
      <${RecordingForm} id="buy" thing="purchase" fields=${[PRICE, ITEM]} fixed=${identity} button="Buy" send=${buy} hold=${held} onRecorded=${onRecorded} onFailure=${checkService} />
    </section>
    <section class="ledger" aria-labelledby="ledger-title">
      <h2 id="ledger-title">My purchases</h2>
      <${Purchases} whose=${{ userid }} view="purchases" params=${address.params} bought=${bought.filter((one) => one.userid === userid)} onListed=${onListed} none=${none} />
    </section>
  </div>`;
}

/** How a purchase is held before it is sent; a price of zero is confirmed. */
function held({ price }) {
  const amount = money(price);
  if (/^[0.]+$/.test(price)) return { text: `Record a purchase for ${amount}?`, now: "Record", undo: "Cancel" };
  return { text: `Buying for ${amount}.`, now: "Buy now", undo: "Undo", time: HOLD };
}

/** The identity that is kept, unless it is not that of the token. */
function knownIdentity() {
  const kept = keptIdentity(hasKey());
  return [undefined, kept?.userid].includes(subject()) ? kept : null;
}

/** The name in the latest purchase of a user; undefined if there is none, or it cannot be looked up in time. */
function latestName(userid) {
  const latest = page({ userid }, { limit: 1 }).then(({ items }) => items[0]?.username, () => undefined);
  return Promise.race([latest, new Promise((resolve) => setTimeout(resolve, LOOK_UP))]);
}

/** Asks who the customer is. The token of a customer says the user ID. */
function Identify({ onIdentified }) {
  const [{ problems = {}, asked, isBusy }, set] = useState({});
  const form = useRef(null);
  const submit = async (event) => {
    event.preventDefault();
    const [userid, username] = ["userid", "username"].map((name) => form.current.elements[name].value.trim());
    if (!userid || !username) {
      set({ problems: { userid: userid === "" && "Enter your user ID.", username: username === "" && "Enter your name." } });
      return form.current.elements[userid ? "username" : "userid"].focus();
    }
    set({ isBusy: true });
    const name = await latestName(userid);
    if (name === undefined || name === username) onIdentified({ userid, username });
    else set({ asked: { userid, names: [name, username] } });
  };
  useEffect(() => void (asked && form.current.querySelector("button").focus()), [asked]);
  const choice = (username, at) => html`<button type="button" class=${at > 0 && "quiet"} onClick=${() => onIdentified({ userid: asked.userid, username })}>Continue as ${username}</button>`;
  return html`<section class="slip identify" aria-labelledby="identify-title">
    <h2 id="identify-title">Who are you?</h2>
    <p class="about">Record what you buy, and see what you have spent. Your purchases are listed under your user ID, such as eva-7: enter the same one each time.</p>
    <form id="identify" ref=${form} class="recording" novalidate onSubmit=${submit} onInput=${() => set({})}>
      <${Field} id="userid" member="userid" label="User ID" autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="128" value=${subject()} readonly=${subject() !== undefined} problem=${problems.userid} />
      <${Field} id="username" member="username" label="Name" autocomplete="name" required maxlength="256" problem=${problems.username} />
      ${asked
        ? html`<p id="asked" role="status"><b>${asked.userid}</b> bought as <b>${asked.names[0]}</b> before.</p>${asked.names.map(choice)}`
        : html`<button type="submit" id="identify-button" aria-disabled=${isBusy ? "true" : undefined}>Continue</button>`}
    </form>
  </section>`;
}

/** A notice while the service does not accept purchases, and a function that asks for that at once. */
function useService() {
  const [problem, setProblem] = useState("");
  const check = async () => {
    try {
      // Without the scope `operate`, there is only the status of the process.
      const { parts } = await health();
      setProblem(parts?.log === false ? "Purchases are not accepted at the moment." : "");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // An edge that does not publish `/health` says nothing of the service.
      setProblem([401, 403, 404].includes(error.status) ? "" : "The service is unavailable.");
    }
  };
  useEffect(() => {
    check();
    const timer = setInterval(() => document.hidden || check(), CHECK_INTERVAL);
    return () => clearInterval(timer);
  }, []);
  return [html`<p class="notice bad" id="service" role="alert" hidden=${!problem}>${problem}</p>`, check];
}

render(html`<${SignedIn} purpose="Only you see your purchases.">${() => html`<${Customer} />`}<//>`, document.querySelector("main"));
