// The list of purchases: found by user id or by name, kept up to date, longer on demand.

import { Refusal, page, summary } from "./api.js";
import { Chart } from "./chart.js";
import { byId, make, repeatedly, say } from "./elements.js";
import { forPeople, grouped } from "./exact.js";

/** The purchases that are shown at first, and with each "more". */
const LIMIT = 25;
/** The longest page that the service gives. */
const LONGEST = 1000;
/** How long the service waits with a list until what was just bought is in it, in seconds. */
const WAIT = 10;
const EVERYBODY = {};

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export class Ledger {
  #parts = parts();
  #showsEverybody;
  /** Whose purchases are shown: a selector of the API, and the text that was asked for. */
  #whose = null;
  #asked = "";
  #items = [];
  #next = null;
  #totals = null;
  /** Those that were bought here and are not seen in the store yet. */
  #pending = new Map();
  /** Grows with each question, so that a late answer to an older one does not count. */
  #question = 0;

  /** With `showsEverybody`, who asks for nobody is shown everybody. */
  constructor({ showsEverybody }) {
    this.#showsEverybody = showsEverybody;
    const { intro, whose, totals, chart, table, more, news, problem } = this.#parts;
    byId("list").append(problem, intro, whose, totals.element, chart.element, table.element, more, news);
    more.addEventListener("click", () => this.#more());
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.show(byId("who").value.trim());
    });
    const asked = new URLSearchParams(location.hash.slice(1)).get("of") ?? "";
    byId("who").value = asked;
    this.show(asked);
    repeatedly(4000, () => this.#catchUp());
  }

  /** Shows the purchases of the user id, or if it has none, of the user name `asked`. */
  async show(asked) {
    const question = this.#begin(asked);
    this.#render("");
    if (asked) {
      await this.#try(question, async () => {
        const byId = await this.#ask({ userid: asked });
        const byName = byId.items.length === 0 && (await this.#ask({ username: asked }));
        this.#take(question, byName && byName.items.length > 0 ? byName : byId);
      });
    } else if (this.#showsEverybody) {
      await this.#try(question, async () => this.#take(question, await this.#ask(EVERYBODY)));
    }
  }

  /** Shows `purchase` at the top at once, and as stored when it is. */
  async bought(purchase) {
    const { userid } = purchase;
    const question = this.#whose?.userid === userid ? ++this.#question : this.#begin(userid);
    byId("who").value = userid;
    this.#whose = { userid };
    this.#pending.set(purchase.id, purchase);
    this.#render("");
    await this.#try(question, async () => this.#take(question, await this.#ask({ userid }, WAIT)));
  }

  /** Forgets what was shown: something else is asked for. */
  #begin(asked) {
    this.#asked = asked;
    this.#whose = null;
    this.#items = [];
    this.#next = null;
    this.#totals = null;
    history.replaceState(null, "", asked ? `#${new URLSearchParams({ of: asked })}` : location.pathname + location.search);
    return ++this.#question;
  }

  /** Runs what asks the service; what goes wrong is told, unless nobody waits for it any more. */
  async #try(question, task) {
    try {
      await task();
      if (question === this.#question) say(this.#parts.problem, "");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (question === this.#question) say(this.#parts.problem, `The list cannot be shown now: ${error.message}`);
    }
  }

  /**
   * The newest purchases of `whose`: as many as are shown already, and those that may have come. If some are on their
   * way, the service waits for the last of them for so many seconds.
   */
  async #ask(whose, wait = 0) {
    const waitFor = this.#pendingOf(whose).at(-1)?.id;
    const limit = Math.min(this.#items.length + LIMIT, LONGEST);
    const loaded = await page(whose, { limit, waitFor, wait });
    const totals = whose === EVERYBODY ? null : await summary(whose);
    return { whose, totals, ...loaded, arrived: loaded.isPending ? undefined : waitFor };
  }

  #take(question, { whose, totals, items, next, arrived }) {
    if (question !== this.#question) return;
    this.#whose = whose;
    this.#totals = totals;
    this.#items = items;
    this.#next = next;
    for (const id of [arrived, ...items.map(({ id }) => id)]) this.#pending.delete(id);
    this.#render(this.#inWords());
  }

  /** Looks whether there is more than before. */
  async #catchUp() {
    const whose = this.#whose;
    if (!whose) return;
    const question = this.#question;
    await this.#try(question, async () => {
      const mayHaveGrown = whose === EVERYBODY || this.#pendingOf(whose).length > 0;
      if (mayHaveGrown || (await summary(whose)).count !== this.#totals?.count) {
        this.#take(question, await this.#ask(whose));
      }
    });
  }

  async #more() {
    const question = this.#question;
    await this.#try(question, async () => {
      const loaded = await page(this.#whose, { limit: LIMIT, cursor: this.#next });
      if (question !== this.#question) return;
      this.#items = [...this.#items, ...loaded.items];
      this.#next = loaded.next;
      this.#render(`${grouped(this.#items.length)} purchases are shown.`);
      // The button is gone, and the focus must be somewhere.
      if (!this.#next) byId("ledger").focus();
    });
  }

  /** What was bought here for `whose` and is not seen in the store yet, in the order in which it was bought. */
  #pendingOf(whose) {
    return [...this.#pending.values()].filter(({ userid }) => userid === whose?.userid);
  }

  #inWords() {
    if (this.#items.length === 0) return this.#introduction();
    if (!this.#totals) return `The newest ${grouped(this.#items.length)} purchases of everybody.`;
    const { count, total_spent: spent } = this.#totals;
    return `${grouped(count)} ${count === "1" ? "purchase" : "purchases"} for ${forPeople(spent)} in all.`;
  }

  #render(news) {
    const { intro, whose, totals, chart, table, more } = this.#parts;
    const pending = this.#pendingOf(this.#whose);
    const isEmpty = this.#items.length + pending.length === 0;
    intro.hidden = !isEmpty;
    say(intro, this.#introduction());
    whose.hidden = isEmpty;
    whose.replaceChildren(...title(this.#whose ?? {}));
    totals.show(isEmpty ? null : this.#totals);
    chart.show(this.#items, this.#next !== null);
    table.show(pending.reverse(), this.#items);
    more.hidden = !this.#next;
    linkToJson(this.#whose);
    if (news) say(this.#parts.news, news);
  }

  #introduction() {
    if (this.#asked) return this.#whose ? `Nothing was bought under “${this.#asked}” so far.` : "Looking…";
    return this.#showsEverybody ? "Nothing is stored so far." : "Buy something, or look up what somebody has bought.";
  }
}

function title(whose) {
  if (whose.userid !== undefined) return ["User ", make("b", {}, whose.userid)];
  if (whose.username !== undefined) return ["Everybody named ", make("b", {}, whose.username)];
  return ["Everybody, the newest first"];
}

/** The same list where programs ask for it. */
function linkToJson(whose) {
  const place = byId("as-json");
  const [by, who] = Object.entries(whose ?? {})[0] ?? [];
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
    table: table(),
    more: make("button", { type: "button", class: "quiet", id: "more", hidden: true }, "More"),
    news: make("p", { class: "unseen", role: "status" }),
  };
}

function totals() {
  const [count, spent] = [make("dd", { class: "figures", id: "count" }), make("dd", { class: "figures", id: "total" })];
  const element = make("dl", { class: "totals" }, make("div", {}, make("dt", {}, "Purchases"), count), make("div", {}, make("dt", {}, "Spent in all"), spent));
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
  let known = null;
  const show = (pending, items) => {
    element.hidden = pending.length + items.length === 0;
    // Those that come while somebody looks stand out for a moment; those that were there do not.
    const isFresh = ({ id }) => known?.size > 0 && !known.has(id);
    const rows = [...pending.map((item) => row(item, "pending")), ...items.map((item) => row(item, isFresh(item) && "fresh"))];
    known = new Set(items.map(({ id }) => id));
    body.replaceChildren(...rows);
  };
  return { element, show };
}

function row({ id, username, userid, price, timestamp }, state) {
  const date = new Date(timestamp);
  const when = make("time", { datetime: timestamp, title: timestamp }, day.format(date), " ", make("small", {}, time.format(date)));
  const who = [make("span", { class: "name" }, username), " ", make("small", {}, userid)];
  if (state === "pending") who.push(" ", make("span", { class: "tag" }, "on its way"));
  const cells = [make("td", { class: "when" }, when), make("td", { class: "who" }, ...who), make("td", { class: "amount" }, forPeople(price))];
  return make("tr", { class: state, "data-id": id }, ...cells);
}
