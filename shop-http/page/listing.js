// The rendering of the list of purchases. It depends on the state alone, which `ledger.js` keeps.

import { EVERYONE } from "./api.js";
import { Chart } from "./chart.js";
import { byId, make, say, sentence } from "./elements.js";
import { forPeople, grouped } from "./exact.js";

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export class Listing {
  #parts;
  #showsEveryone;

  /**
   * `onMore` is called when the user asks for more rows, `onNewest` for the newest ones, `onNamed` for those of the
   * users of that name.
   */
  constructor({ showsEveryone, onMore, onNewest, onNamed }) {
    this.#showsEveryone = showsEveryone;
    this.#parts = parts();
    const { problem, intro, whose, named, totals, chart, newer, table, more, status } = this.#parts;
    byId("list").append(problem, intro, whose, named.element, totals.element, chart.element, newer.element, table.element, more, status);
    more.addEventListener("click", onMore);
    newer.button.addEventListener("click", onNewest);
    named.button.addEventListener("click", onNamed);
  }

  /** Shows `state`, for the text that was `asked` for, with the purchases that are `pending`. */
  show(state, { asked, pending }) {
    const { problem, intro, whose, named, totals, chart, newer, table, more, status } = this.#parts;
    const { items = [], next = null } = state;
    const isShown = state.is === "shown";
    byId("list").dataset.state = state.is;
    byId("list").setAttribute("aria-busy", state.is === "loading");
    say(problem, problemOf(state));
    say(intro, this.#introduction(state, asked));
    intro.hidden = intro.textContent === "";
    whose.hidden = !isShown;
    whose.replaceChildren(...(isShown ? title(state.whose) : []));
    named.show(state.named ? `“${asked}” is also a user name, with ${purchases(state.named.count)}.` : "");
    totals.show(state.totals ?? null);
    chart.show(items, items.length > 0 ? rowsInWords(state) : "");
    newer.show(state.hasNewer ? "Newer purchases are stored." : "");
    table.show([...pending].reverse(), items);
    more.hidden = !next;
    linkToJson(state.whose);
    if (isShown) say(status, inWords(state));
  }

  #introduction({ is }, asked) {
    if (is === "loading") return "Loading…";
    if (is === "idle") return "Buy something, or look up the purchases of a user.";
    if (is !== "empty") return "";
    return asked ? `No purchases found for “${asked}”.` : "No purchases are stored yet.";
  }
}

function problemOf({ is, problem, mayPass }) {
  if (is === "failed") return `The list cannot be loaded: ${sentence(problem)}${mayPass ? " Trying again…" : ""}`;
  return problem ? `The list may be out of date: ${sentence(problem)} Trying again…` : "";
}

function title(whose) {
  if (whose === EVERYONE) return ["All users, newest first"];
  return whose.userid === undefined ? ["All users named ", make("b", {}, whose.username)] : ["User ", make("b", {}, whose.userid)];
}

const purchases = (count) => `${grouped(count)} ${String(count) === "1" ? "purchase" : "purchases"}`;

/** What is shown, for a screen reader. */
function inWords({ whose, items, totals }) {
  if (!totals) return whose === EVERYONE ? `The newest ${purchases(items.length)} of all users.` : "";
  return `${purchases(totals.count)} for ${forPeople(totals.total_spent)} in total, ${grouped(items.length)} shown.`;
}

/** Which purchases the chart is made of. */
function rowsInWords({ items, next, totals }) {
  if (!next) return items.length === 1 ? "One purchase." : `All ${purchases(items.length)}.`;
  const of = totals ? ` of ${purchases(totals.count)}` : " purchases";
  return `Only the newest ${grouped(items.length)}${of}, which are listed below.`;
}

/** The same list where programs ask for it. */
function linkToJson(whose) {
  const place = byId("as-json");
  const [by, who] = whose && whose !== EVERYONE ? Object.entries(whose)[0] : [];
  place.hidden = by === undefined;
  if (by === undefined) return;
  const link = place.querySelector("a");
  link.href = `${place.dataset.path}${encodeURIComponent(who)}?by=${by}`;
  say(link, link.pathname + link.search);
}

function parts() {
  return {
    problem: make("p", { class: "notice bad", role: "alert" }),
    intro: make("p", { class: "intro" }),
    whose: make("h3"),
    totals: totals(),
    chart: new Chart(),
    named: offer("named", "Show them"),
    newer: offer("newest", "Show the newest"),
    table: table(),
    more: make("button", { type: "button", class: "quiet", id: "more", hidden: true }, "More"),
    status: make("p", { class: "unseen", role: "status" }),
  };
}

/** A notice with a button that leads to what it is about. */
function offer(id, action) {
  const text = make("span");
  const button = make("button", { type: "button", class: "link", id }, action);
  const element = make("p", { class: "notice offer", role: "status", hidden: true }, text, " ", button);
  const show = (words) => {
    element.hidden = words === "";
    say(text, words);
  };
  return { element, button, show };
}

function totals() {
  const [count, spent] = [make("dd", { class: "figures", id: "count" }), make("dd", { class: "figures", id: "total" })];
  const element = make("dl", { class: "totals" }, make("div", {}, make("dt", {}, "Purchases"), count), make("div", {}, make("dt", {}, "Total spent"), spent));
  const show = (totals) => {
    element.hidden = !totals;
    say(count, totals ? grouped(totals.count) : "");
    say(spent, totals ? forPeople(totals.total_spent) : "");
  };
  return { element, show };
}

function table() {
  const heading = (text, of) => make("th", { scope: "col", class: of }, text);
  const head = make("tr", {}, heading("When", "when"), heading("Who", "who"), heading("Price", "amount"));
  const body = make("tbody", { id: "purchases" });
  const element = make("table", { class: "entries" }, make("caption", { class: "unseen" }, "Purchases, the newest first"), make("thead", {}, head), body);
  let drawn = { pending: [], items: [] };
  const show = (pending, items) => {
    // Rows that are there stay: what is selected in them stays selected.
    if (items === drawn.items && pending.length === 0 && drawn.pending.length === 0) return;
    element.hidden = pending.length + items.length === 0;
    // Those that come while the list is looked at stand out for a moment; those that were there do not.
    const known = new Set(drawn.items.map(({ id }) => id));
    const isFresh = ({ id }) => known.size > 0 && !known.has(id);
    const rows = [...pending.map((item) => row(item, "pending")), ...items.map((item) => row(item, isFresh(item) && "fresh"))];
    drawn = { pending, items };
    body.replaceChildren(...rows);
  };
  element.hidden = true;
  return { element, show };
}

function row({ id, username, userid, price, timestamp }, state) {
  const date = new Date(timestamp);
  const when = make("time", { datetime: timestamp, title: timestamp }, day.format(date), " ", make("small", {}, time.format(date)));
  const who = [make("span", { class: "name" }, username), " ", make("small", {}, userid)];
  if (state === "pending") who.push(" ", make("span", { class: "tag" }, "pending"));
  const cells = [make("td", { class: "when" }, when), make("td", { class: "who" }, ...who), make("td", { class: "amount" }, forPeople(price))];
  return make("tr", { class: state, "data-id": id }, ...cells);
}
