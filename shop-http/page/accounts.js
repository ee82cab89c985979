// For operators: finds users and orders by their numbers and creates them, if the service has these roles.

import { Refusal, order, ordersOf, paths, place, register, user } from "./api.js";
import { byId, make, repeatedly, say, sentence } from "./elements.js";
import { forPeople, grouped } from "./exact.js";
import { RecordingForm, mark } from "./form.js";

/** The maximum number of orders that the service lists for a user. */
const MAX_ORDERS = 1000;

/**
 * The kinds of entities: the path that shows whether the service has them, the fields of the form that creates one, and
 * the facts that are shown of one. A fact that `leadsTo` the other kind is a list of its numbers.
 */
const KINDS = [
  {
    path: "/users",
    noun: "user",
    idName: "User ID",
    title: "Users",
    form: "register",
    button: "Register",
    made: "Registered as user",
    send: register,
    fields: [
      { id: "new-email", member: "email", label: "E-mail", type: "email", autocapitalize: "none", spellcheck: "false", required: true },
      { id: "new-name", member: "name", label: "Name" },
    ],
    find: async (id) => {
      const [found, orders] = await Promise.all([user(id), ordersOf(id)]);
      return { ...found, orders };
    },
    // Orders are added over time.
    grows: true,
    facts: [
      { id: "user-id", name: "User ID", of: ({ id }) => id },
      { id: "user-email", name: "E-mail", of: ({ email }) => email },
      { id: "user-name", name: "Name", of: ({ name }) => name },
      { id: "user-orders", name: "Orders", of: ({ orders }) => orders, leadsTo: "order" },
    ],
  },
  {
    path: "/orders",
    noun: "order",
    idName: "Order ID",
    title: "Orders",
    form: "place",
    button: "Order",
    made: "Recorded as order",
    send: place,
    fields: [
      { id: "new-user", member: "user_id", label: "User ID", inputmode: "numeric", required: true, stays: true },
      { id: "new-product", member: "product", label: "Product" },
      { id: "new-quantity", member: "quantity", label: "Quantity", inputmode: "numeric", required: true },
      { id: "new-total", member: "total_price", label: "Total price", inputmode: "decimal", placeholder: "0.00", required: true },
    ],
    find: order,
    facts: [
      { id: "order-id", name: "Order ID", of: ({ id }) => id },
      { id: "order-user", name: "User ID", of: ({ user_id: user }) => [user], leadsTo: "user" },
      { id: "order-product", name: "Product", of: ({ product }) => product },
      { id: "order-quantity", name: "Quantity", of: ({ quantity }) => grouped(quantity) },
      { id: "order-total", name: "Total price", of: ({ total_price: total }) => forPeople(total) },
    ],
  },
];

/** Shows users and orders, or those of them that the service has. */
export async function setUpAccounts() {
  const served = await servedPaths();
  const kinds = KINDS.filter(({ path }) => served.has(path));
  if (kinds.length === 0) return;
  const sheets = new Map();
  for (const kind of kinds) sheets.set(kind.noun, new Sheet(kind, (noun) => sheets.get(noun)));
  const elements = [...sheets.values()].map(({ element }) => element);
  document.querySelector("main").append(make("div", { class: "accounts" }, ...elements));
  for (const sheet of sheets.values()) sheet.setUp();
}

async function servedPaths() {
  for (;;) {
    try {
      return await paths();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 4000));
  }
}

/** Finds and creates the entities of one kind. */
class Sheet {
  #kind;
  #sheetOf;
  #facts;
  /** The number of the one that is shown. */
  #shown = null;
  /** Incremented by each query, so that a late response to an older one is ignored. */
  #question = 0;

  /** `sheetOf` returns the sheet of a kind, if there is one. */
  constructor(kind, sheetOf) {
    this.#kind = kind;
    this.#sheetOf = sheetOf;
    this.#facts = facts(kind);
    this.element = sheet(kind, this.#facts);
  }

  /** Adds the event handlers, once the element is in the document. */
  setUp() {
    const { noun, form, fields, send, grows } = this.#kind;
    byId(`find-${noun}`).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find(byId(this.#which).value.trim());
    });
    byId(this.#which).addEventListener("input", () => mark(this.#which, ""));
    new RecordingForm(form, { thing: noun, fields, send, onRecorded: (made) => this.#made(made) });
    if (grows) repeatedly(4000, () => this.#catchUp());
  }

  /** The input of the requested number. */
  get #which() {
    return `which-${this.#kind.noun}`;
  }

  /** Shows the one of this number, and goes there. */
  goTo(id) {
    this.element.focus();
    this.#show(id);
  }

  #made({ id }) {
    for (const field of this.#kind.fields) if (!field.stays) byId(field.id).value = "";
    this.#show(id);
    return `${this.#kind.made} ${id}.`;
  }

  #show(id) {
    byId(this.#which).value = id;
    this.#find(id);
  }

  #find(id) {
    this.#shown = null;
    this.#facts.show(null);
    this.#report({ progress: "Loading…" });
    const question = ++this.#question;
    // Anything else could be part of another path.
    if (/^\d+$/.test(id)) {
      this.#ask(question, id);
    } else {
      this.#report({ problem: `Enter the ${this.#kind.noun} ID, such as 1.` });
      byId(this.#which).focus();
    }
  }

  async #catchUp() {
    if (this.#shown !== null) await this.#ask(this.#question, this.#shown);
  }

  /** Queries the entity of this number and shows it, or the failure, unless another one was requested since. */
  async #ask(question, id) {
    try {
      const found = await this.#kind.find(id);
      if (question !== this.#question) return;
      this.#shown = found.id;
      this.#facts.show(found, this.#sheetOf);
      this.#report({});
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (question !== this.#question) return;
      const text = sentence(error.message);
      this.#report(error.mayPass ? { failure: text } : { problem: text });
    }
  }

  /** Shows a problem with the requested number, a failure of the request, or its progress. */
  #report({ problem = "", failure = "", progress = "" }) {
    mark(this.#which, problem);
    say(byId(`${this.#which}-progress`), progress);
    say(byId(`${this.#which}-failure`), failure);
  }
}

function sheet({ noun, idName, title, form, button, fields }, facts) {
  const which = `which-${noun}`;
  const asked = make("input", { id: which, name: which, inputmode: "numeric", autocomplete: "off", "aria-describedby": `${which}-problem` });
  return make(
    "section",
    { class: "slip", id: `${noun}s`, tabindex: -1, "aria-labelledby": `${noun}s-title` },
    make("h2", { id: `${noun}s-title` }, title),
    make(
      "form",
      { class: "search", id: `find-${noun}`, role: "search", novalidate: true, "aria-labelledby": `${noun}s-title` },
      make("label", { for: which }, idName),
      make("div", { class: "row" }, asked, make("button", { type: "submit", class: "quiet" }, "Show")),
      make("p", { class: "problem", id: `${which}-problem`, role: "alert" }),
      make("p", { class: "problem", id: `${which}-failure`, role: "alert" }),
      make("p", { class: "answer progress", id: `${which}-progress`, role: "status" }),
    ),
    facts.element,
    make(
      "form",
      { class: "recording", id: form, novalidate: true, "aria-labelledby": `${form}-title` },
      make("h3", { id: `${form}-title` }, `A new ${noun}`),
      ...fields.map(input),
      make("button", { type: "submit", id: `${form}-button` }, button),
      make("p", { class: "answer", id: `${form}-answer`, role: "status" }),
      make("p", { class: "answer bad", id: `${form}-problem`, role: "alert" }),
    ),
  );
}

function input({ id, member, label, stays, ...attributes }) {
  return make(
    "div",
    { class: "field" },
    make("label", { for: id }, label),
    make("input", { id, name: member, autocomplete: "off", "aria-describedby": `${id}-problem`, ...attributes }),
    make("p", { class: "problem", id: `${id}-problem` }),
  );
}

/** The facts of one entity. Screen readers announce them and their changes. */
function facts({ noun, facts }) {
  const shown = facts.map((fact) => ({ ...fact, value: make("dd", { id: fact.id }) }));
  const rows = shown.map(({ name, value }) => make("div", {}, make("dt", {}, name), value));
  const list = make("dl", { class: "facts", id: noun, hidden: true }, ...rows);
  const show = (one, sheetOf) => {
    list.hidden = one === null;
    for (const { of, leadsTo, value } of shown) {
      if (leadsTo) link(value, one ? of(one) : [], leadsTo, sheetOf?.(leadsTo));
      else say(value, one ? of(one) : "");
    }
  };
  // Only changes within an existing element are announced.
  return { element: make("div", { "aria-live": "polite" }, list), show };
}

/** Shows numbers of a kind, each of which leads to its sheet, if there is one. */
function link(element, numbers, noun, sheet) {
  const asText = numbers.join(" ");
  if (element.dataset.numbers === asText) return;
  element.dataset.numbers = asText;
  const linkTo = (number) => {
    const button = make("button", { type: "button", class: "link", "aria-label": `Show ${noun} ${number}` }, number);
    button.addEventListener("click", () => sheet.goTo(number));
    return button;
  };
  const items = numbers.map((number) => make("li", {}, sheet ? linkTo(number) : number));
  const most = numbers.length >= MAX_ORDERS ? [make("small", {}, `the first ${grouped(MAX_ORDERS)}`)] : [];
  element.replaceChildren(...(items.length > 0 ? [make("ul", {}, ...items)] : []), ...most);
}
