// For operators: finds users and orders by their numbers and creates them, if the service has these roles.

import { addressOf } from "./address.js";
import { order, ordersOf, place, register, user } from "./api.js";
import { forPeople, grouped, readAmount } from "./exact.js";
import { Input } from "./input.js";
import { Loaded, useLoaded } from "./loaded.js";
import { inCurrency, money } from "./money.js";
import { html } from "./preact.js";
import { RecordingForm } from "./recording.js";

/** The maximum number of orders that the service lists for a user. */
const MAX_ORDERS = 1000;
/** Orders are added to a user over time. */
const POLL_INTERVAL = 4000;

const whole = (text) => {
  const value = Number(text);
  return /^\d+$/.test(text) && Number.isSafeInteger(value) ? { value } : { problem: "Enter a whole number, such as 1." };
};
const amount = (text) => {
  const { amount, problem } = readAmount(text);
  return { value: amount, problem };
};

/**
 * The kinds of entities: the path that shows whether the service has them, the fields of the form that creates one, and
 * the facts that are shown of one. A fact that `leadsTo` the other kind is a list of its numbers.
 */
const KINDS = [
  {
    path: "/v1/users",
    noun: "user",
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
    every: POLL_INTERVAL,
    facts: [
      { name: "User ID", of: ({ id }) => id },
      { name: "E-mail", of: ({ email }) => email },
      { name: "Name", of: ({ name }) => name },
      { name: "Orders", of: ({ orders }) => orders, leadsTo: "order" },
    ],
  },
  {
    path: "/v1/orders",
    noun: "order",
    form: "place",
    button: "Order",
    made: "Recorded as order",
    send: place,
    fields: [
      { id: "new-user", member: "user_id", label: "User ID", inputmode: "numeric", required: true, stays: true, read: whole },
      { id: "new-product", member: "product", label: "Product" },
      { id: "new-quantity", member: "quantity", label: "Quantity", inputmode: "numeric", required: true, read: whole },
      { id: "new-total", member: "total_price", label: inCurrency("Total price"), inputmode: "decimal", placeholder: forPeople("0"), required: true, read: amount },
    ],
    find: order,
    facts: [
      { name: "Order ID", of: ({ id }) => id },
      { name: "User ID", of: ({ user_id: user }) => [user], leadsTo: "user" },
      { name: "Product", of: ({ product }) => product },
      { name: "Quantity", of: ({ quantity }) => grouped(quantity) },
      { name: "Total price", of: ({ total_price: total }) => money(total) },
    ],
  },
];

/** `state` is that of the paths that the service has; `params` names a `user` and an `order`. */
export function Entities({ state, params }) {
  const kinds = (served) => KINDS.filter(({ path }) => served.has(path));
  return html`<${Loaded} id="entities" state=${state} what="The list of roles">${(served) => html`<div class="pair">
    ${kinds(served).map((kind) => html`<${Sheet} kind=${kind} params=${params} served=${served} />`)}
  </div>`}<//>`;
}

/** Finds and creates the entities of one kind. */
function Sheet({ kind, params, served }) {
  const { noun, form, button, fields, send, made } = kind;
  const title = `${noun === "user" ? "Users" : "Orders"}`;
  const id = params[noun] ?? "";
  const go = (id) => (location.hash = addressOf("entities", { ...params, [noun]: id }));
  const find = (event) => {
    event.preventDefault();
    go(event.target.elements.which.value.trim());
  };
  const onRecorded = ({ id }) => {
    go(id);
    return `${made} ${id}.`;
  };
  return html`<section class="slip" id="${noun}s" aria-labelledby="${noun}s-title">
    <h2 id="${noun}s-title">${title}</h2>
    <form class="find" id="find-${noun}" role="search" aria-labelledby="${noun}s-title" onSubmit=${find}>
      <label class="wide">${noun === "user" ? "User ID" : "Order ID"} <${Input} id="which-${noun}" name="which" inputmode="numeric" autocomplete="off" value=${id} /></label>
      <button type="submit" class="quiet">Show</button>
    </form>
    ${id && html`<${Facts} key=${id} kind=${kind} id=${id} params=${params} served=${served} />`}
    <h3>A new ${noun}</h3>
    <${RecordingForm} id=${form} thing=${noun} fields=${fields} button=${button} send=${send} onRecorded=${onRecorded} />
  </section>`;
}

/** The facts of the one entity of this number. */
function Facts({ kind: { noun, find, every, facts }, id, params, served }) {
  // Anything but a number could be part of another path.
  const isNumber = /^\d+$/.test(id);
  const [state] = useLoaded(id, async () => (isNumber ? find(id) : null), isNumber ? every : undefined);
  const link = (number, leadsTo) => html`<a href=${addressOf("entities", { ...params, [leadsTo]: number })} aria-label="Show ${leadsTo} ${number}">${number}</a>`;
  const value = (found, { of, leadsTo }) => {
    if (!leadsTo) return of(found);
    const numbers = of(found);
    const most = numbers.length >= MAX_ORDERS && html` <small>the first ${grouped(String(MAX_ORDERS))}</small>`;
    return html`<ul>${numbers.map((number) => html`<li>${served.has(`/v1/${leadsTo}s`) ? link(number, leadsTo) : number}</li>`)}</ul>${most}`;
  };
  const what = `The ${noun} ${id}`;
  return html`<${Loaded} id="${noun}-facts" state=${state} what=${what} empty="Enter a number, such as 1.">${(found) => html`<dl class="facts" id=${noun}>
    ${facts.map((fact) => html`<div><dt>${fact.name}</dt><dd id="${noun}-${fact.name.toLowerCase().replace(" ", "-")}">${value(found, fact)}</dd></div>`)}
  </dl>`}<//>`;
}
