// The form that buys. Each purchase that somebody means has one key, however often it is sent: a double click, a retry
// and a reload in between make no second one of it.

import { buy, freshKey } from "./api.js";
import { byId, say } from "./elements.js";
import { forPeople, isDecimal } from "./exact.js";

const FIELDS = ["username", "userid", "price"];
/** Where the attempt is kept whose end is not known, so that a reload does not forget its key. */
const KEPT = "purchase-in-doubt";
const ATTEMPTS = 3;

const missing = {
  username: "Enter the name of who buys.",
  userid: "Enter the user id of who buys.",
  price: "Enter the price, such as 29.99.",
};

/** Makes the form work; `onBought` is called with each purchase that was taken. */
export function setUpBuying(onBought) {
  const form = byId("buy");
  const kept = keptAttempt();
  if (kept) {
    for (const field of FIELDS) byId(field).value = kept.purchase[field];
    say(byId("buy-problem"), "It is not known whether this purchase was recorded. Press Buy again: it is recorded once.");
  }
  let isSending = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isSending) return;
    isSending = true;
    byId("buy-button").setAttribute("aria-disabled", "true");
    try {
      await submit(onBought);
    } finally {
      isSending = false;
      byId("buy-button").removeAttribute("aria-disabled");
    }
  });
  // The second click of a double click, and a key that is held down, mean nothing more.
  byId("buy-button").addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
  form.addEventListener("keydown", (event) => event.key === "Enter" && event.repeat && event.preventDefault());
  for (const field of FIELDS) byId(field).addEventListener("input", () => mark(field, ""));
}

async function submit(onBought) {
  const purchase = Object.fromEntries(FIELDS.map((field) => [field, byId(field).value.trim()]));
  say(byId("buy-answer"), "");
  say(byId("buy-problem"), "");
  if (!check(purchase)) return;
  const attempt = attemptAt(purchase);
  try {
    const taken = await send(attempt);
    forgetAttempt();
    byId("price").value = "";
    say(byId("buy-answer"), `Bought for ${forPeople(taken.price)}, and recorded.`);
    onBought(taken);
  } catch (refusal) {
    explain(refusal);
  }
}

/** Whether everything is there; what is not is marked, and the first of it has the focus. */
function check(purchase) {
  const problem = (field) => {
    if (purchase[field] === "") return missing[field];
    return field === "price" && !isDecimal(purchase.price) ? "Enter the price as a number, such as 29.99." : "";
  };
  const wrong = FIELDS.filter((field) => mark(field, problem(field)));
  if (wrong.length > 0) byId(wrong[0]).focus();
  return wrong.length === 0;
}

/** Notes a problem of a field, or that there is none; answers whether there is one. */
function mark(field, problem) {
  say(byId(`${field}-problem`), problem);
  if (problem) byId(field).setAttribute("aria-invalid", "true");
  else byId(field).removeAttribute("aria-invalid");
  return problem !== "";
}

/** Sends it until there is an answer, a few times at most. */
async function send({ purchase, key }) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await buy(purchase, key);
    } catch (refusal) {
      if (!refusal.mayPass || attempt === ATTEMPTS) throw refusal;
      say(byId("buy-answer"), "No answer yet. Trying again…");
      const seconds = Math.min(refusal.retryAfter ?? attempt, 5);
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}

function explain(refusal) {
  say(byId("buy-answer"), "");
  const text = sentence(refusal.message);
  if (!refusal.mayPass) {
    // What was refused for good was not recorded, under no key.
    forgetAttempt();
    if (FIELDS.includes(refusal.field)) {
      mark(refusal.field, text);
      byId(refusal.field).focus();
      return;
    }
    say(byId("buy-problem"), text);
  } else if (refusal.outcome === "not_sent") {
    say(byId("buy-problem"), `${text} Nothing was recorded. Press Buy to try again.`);
  } else {
    say(byId("buy-problem"), `${text} It is not known whether it was recorded. Press Buy again: it is recorded once.`);
  }
}

function sentence(text) {
  const trimmed = text.trim();
  return /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

/** The attempt at this purchase: the one that is in doubt, if it is of the same. */
function attemptAt(purchase) {
  const kept = keptAttempt();
  const isSame = kept && FIELDS.every((field) => kept.purchase[field] === purchase[field]);
  const attempt = isSame ? kept : { purchase, key: freshKey() };
  keep(attempt);
  return attempt;
}

// Where the browser keeps nothing, the attempt lasts as long as the page.
let remembered = null;

function keptAttempt() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? remembered;
  } catch {
    return remembered;
  }
}

function keep(attempt) {
  remembered = attempt;
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(attempt));
  } catch {
    // It is remembered.
  }
}

function forgetAttempt() {
  remembered = null;
  try {
    sessionStorage.removeItem(KEPT);
  } catch {
    // Nothing was kept.
  }
}
