// The list of purchases: found by user ID or by name, kept up to date, longer on demand. What it shows is always one
// state of these:
//
// - `idle`: nothing is requested
// - `loading`: the first answer is awaited
// - `failed`: there was none, and nothing is known; `problem` says why, `mayPass` whether to try again
// - `empty`: there are no purchases
// - `shown`: `items` of `whose`, with `next` and `totals`; `problem` says why they may be out of date, `hasNewer` that
//   there are newer ones than those shown, `named` are the totals of users whose name is the ID

import { EVERYONE, Refusal, page, summary } from "./api.js";
import { byId, repeatedly } from "./elements.js";
import { Listing } from "./listing.js";

/** The number of purchases that are shown at first, and that each "More" adds. */
const LIMIT = 25;
/** The maximum length of a page. */
const MAX_LIMIT = 1000;
/** How long the service waits with an answer until the latest purchase of this page is in it, in seconds. */
const WAIT = 10;
const POLL_INTERVAL = 4000;

const IDLE = { is: "idle" };
const LOADING = { is: "loading" };
const EMPTY = { is: "empty" };

const shownOf = (whose, { items = [], next = null, totals = null, named = null } = {}) => ({ is: "shown", whose, items, next, totals, named, problem: "", hasNewer: false });
const isSame = (one, other) => one.of === other?.of && one.by === other?.by;
const idsOf = (items) => items.map(({ id }) => id).join(" ");

export class Ledger {
  #listing;
  #showsEveryone;
  /** The request: the user ID `of`, or if it has no purchases the user name; or just the name, `by` it. */
  #asked = { of: "", by: "" };
  #state = null;
  /** Those that were bought here and are not stored yet. */
  #pending = new Map();
  /** Incremented by each action of the user, so that a late response to an earlier one is ignored. */
  #question = 0;
  /** The question of the latest action, as long as it waits for its answer. */
  #acting = null;

  /** With `showsEveryone`, the purchases of all users are shown when none is asked for. */
  constructor({ showsEveryone }) {
    this.#showsEveryone = showsEveryone;
    this.#listing = new Listing({
      showsEveryone,
      onMore: () => this.#more(),
      onNewest: () => this.#act(() => this.#lookUp()),
      onNamed: () => this.#show({ ...this.#asked, by: "username" }),
    });
    byId("find").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#show({ of: byId("who").value.trim(), by: "" });
    });
    // Both are sent when the address is edited, one when it is gone back to: only the first of them changes anything.
    for (const moved of ["popstate", "hashchange"]) window.addEventListener(moved, () => this.#follow());
    this.#show(askedInAddress() ?? this.#asked);
    repeatedly(POLL_INTERVAL, () => this.#catchUp());
  }

  /** Shows what is `asked` for. */
  async #show(asked) {
    this.#ask(asked);
    if (!asked.of && !this.#showsEveryone) {
      this.#question++;
      this.#become(IDLE);
    } else {
      this.#become(LOADING);
      await this.#act(() => this.#lookUp());
    }
  }

  /** Shows `purchase` at the top at once, and as stored when it is. */
  async bought(purchase) {
    const { userid } = purchase;
    this.#pending.set(purchase.id, purchase);
    if (this.#state.whose?.userid !== userid) this.#state = shownOf({ userid });
    this.#ask({ of: userid, by: "" });
    this.#become({ ...this.#state });
    await this.#act(() => this.#ofUser({ userid }, this.#state, WAIT));
  }

  /** Notes what is asked for, as a step of the browser's history. */
  #ask(asked) {
    this.#asked = asked;
    const { of, by } = asked;
    byId("who").value = of;
    if (isSame(asked, askedInAddress())) return;
    history.pushState(null, "", of ? `#${new URLSearchParams(by ? { of, by } : { of })}` : location.pathname + location.search);
  }

  /** Shows what the address asks for, after the user has gone back or edited it. */
  #follow() {
    const asked = askedInAddress();
    if (asked !== null && !isSame(asked, this.#asked)) this.#show(asked);
  }

  #become(state) {
    if (state === this.#state && state !== LOADING) return;
    this.#state = state;
    this.#listing.show(state, { asked: this.#asked.of, pending: this.#pendingOf(state.whose) });
  }

  /** Runs an action of the user. The list does not catch up in the meantime. */
  async #act(load) {
    const question = ++this.#question;
    this.#acting = question;
    try {
      await this.#load(question, load);
    } finally {
      if (this.#acting === question) this.#acting = null;
    }
  }

  /** Enters the state that `load` returns, or the one of its failure, unless something else was asked for since. */
  async #load(question, load) {
    let state;
    try {
      state = await load();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { message: problem, mayPass } = error;
      state = this.#state.is === "shown" ? { ...this.#state, problem } : { is: "failed", problem, mayPass };
    }
    if (question === this.#question) this.#become(state);
  }

  /** Loads what is asked for, from the start. */
  async #lookUp() {
    const { of, by } = this.#asked;
    if (!of) return this.#ofEveryone(shownOf(EVERYONE));
    const [userid, username] = [{ userid: of }, { username: of }];
    const byId = by === "username" ? EMPTY : await this.#ofUser(userid, shownOf(userid));
    if (by === "username") return this.#ofUser(username, shownOf(username));
    if (byId === EMPTY) return this.#ofUser(username, shownOf(username)).catch(deniedAs(EMPTY));
    const named = await summary(username).catch(deniedAs({ count: "0" }));
    const isTheSame = named.count === byId.totals.count && named.total_spent === byId.totals.total_spent;
    return named.count === "0" || isTheSame ? byId : { ...byId, named };
  }

  /** Looks for purchases that were stored since, or tries again what has failed. */
  async #catchUp() {
    const state = this.#state;
    if (this.#acting !== null || state === IDLE || (state.is === "failed" && !state.mayPass)) return;
    await this.#load(this.#question, () => {
      if (state.is !== "shown") return this.#lookUp();
      return state.whose === EVERYONE ? this.#ofEveryone(state) : this.#ofUser(state.whose, state);
    });
  }

  /**
   * The purchases of a user: as many as are `shown`, and those that were stored since. If some are pending, the
   * service waits for the last of them for `wait` seconds.
   */
  async #ofUser(whose, shown, wait = 0) {
    const waitFor = this.#pendingOf(whose).at(-1)?.id;
    // Before the list: what is stored in between is in the list, and the next count differs from this one.
    const totals = await summary(whose, { waitFor, wait });
    if (!waitFor && totals.count === "0") return EMPTY;
    if (!waitFor && totals.count === shown.totals?.count) return upToDate(shown);
    const added = Math.min(Math.max(totals.count - (shown.totals?.count ?? 0), 0), LIMIT);
    const limit = Math.min(Math.max(shown.items.length + added, LIMIT), MAX_LIMIT);
    const { items, next, isPending } = await page(whose, { limit, waitFor, wait: 0 });
    for (const id of [isPending ? undefined : waitFor, ...items.map(({ id }) => id)]) this.#pending.delete(id);
    return shownOf(whose, { items, next, totals, named: shown.named });
  }

  /**
   * The newest purchases of all users. They replace those that are `shown`, unless the user has asked for more: then the
   * list stays as it is. Each request is for the same number, however many are shown.
   */
  async #ofEveryone(shown) {
    const { items, next } = await page(EVERYONE, { limit: LIMIT });
    if (items.length === 0) return EMPTY;
    const isLonger = shown.items.length > LIMIT;
    const isSame = idsOf(items) === idsOf(shown.items.slice(0, LIMIT));
    if (isSame && (isLonger || !next === !shown.next)) return upToDate(shown);
    if (!isLonger) return shownOf(EVERYONE, { items, next });
    return shown.hasNewer ? upToDate(shown) : { ...shown, problem: "", hasNewer: true };
  }

  async #more() {
    const shown = this.#state;
    await this.#act(async () => {
      const { items, next } = await page(shown.whose, { limit: LIMIT, cursor: shown.next });
      return { ...shown, problem: "", items: [...shown.items, ...items], next };
    });
    // The button is gone, and the focus must be somewhere.
    if (this.#state.is === "shown" && !this.#state.next) byId("ledger").focus();
  }

  /** What was bought here for `whose` and is not stored yet, in the order in which it was bought. */
  #pendingOf(whose) {
    return [...this.#pending.values()].filter(({ userid }) => userid === whose?.userid);
  }
}

/** In place of a refusal: names are not unique, so a key for one user does not list by name. */
function deniedAs(value) {
  return (error) => {
    if (error instanceof Refusal && error.status === 403) return value;
    throw error;
  };
}

/** The same state, once the service has answered again. */
function upToDate(shown) {
  return shown.problem ? { ...shown, problem: "" } : shown;
}

/** What the address asks for. `null` if it leads to a part of the page. */
function askedInAddress() {
  const hash = location.hash.slice(1);
  const asked = new URLSearchParams(hash);
  if (hash && !asked.has("of")) return null;
  return { of: asked.get("of") ?? "", by: asked.get("by") === "username" ? "username" : "" };
}
