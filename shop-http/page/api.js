// The requests of the page. Paths are relative, so that the page works behind a prefix.

import { askForKey, authorization } from "./access.js";
import { asJson, parseExact } from "./exact.js";

/** Selects the purchases of all users. Only management has them. */
export const EVERYONE = { everyone: true };

/** Where the paths are, relative to the page: below it, where it has no slash at its end. */
const FOLDER = location.pathname.endsWith("/") ? "" : `./${location.pathname.split("/").at(-1)}/`;
const TIMEOUT = 20_000;
/** `/health` has its own time-outs. */
const HEALTH_TIMEOUT = 8_000;

/** An error response, or a missing response. */
export class Refusal extends Error {
  /** The `problems` are those of single members: `{member, text}`. */
  constructor(text, { status = 0, problems = [], retryAfter, outcome } = {}) {
    super(text);
    Object.assign(this, { status, problems, retryAfter, outcome });
  }

  /** Whether the same request may succeed later. */
  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

async function ask(path, { timeout = TIMEOUT, ...options } = {}) {
  let response, text;
  try {
    response = await fetch(path.startsWith("/") ? path : FOLDER + path, {
      ...options,
      headers: { accept: "application/json", ...authorization(), ...options.headers },
      cache: "no-store",
      signal: AbortSignal.timeout(timeout),
    });
    text = await response.text();
  } catch {
    throw new Refusal("The service cannot be reached.");
  }
  let body;
  try {
    body = parseExact(text);
  } catch {
    body = {};
  }
  if (response.status === 401) askForKey(problemsOf(body)[0]?.text ?? body.detail ?? body.error ?? body.message);
  return { response, body };
}

/** The same, for a successful response. */
async function askFor(path, options) {
  const { response, body } = await ask(path, options);
  if (response.ok) return { body, isPending: response.headers.has("x-purchase-pending") };
  const problems = problemsOf(body);
  throw new Refusal(problems[0]?.text ?? body.detail ?? body.title ?? `The service answered ${response.status}.`, {
    status: response.status,
    problems,
    outcome: body.outcome,
    retryAfter: Number(response.headers.get("retry-after")) || undefined,
  });
}

/** The errors of members in an error response. */
function problemsOf({ field, detail, errors }) {
  const placed = (errors ?? []).filter(({ pointer }) => pointer !== undefined);
  if (placed.length > 0) return placed.map(({ pointer, detail }) => ({ member: pointer.split("/").at(-1), text: detail }));
  if (Array.isArray(detail)) return detail.map(({ loc, msg }) => ({ member: loc.at(-1), text: msg }));
  return field === undefined ? [] : [{ member: field, text: detail }];
}

/** Sends `content`. Repeated with the same key, it is recorded once. */
async function record(path, content, key) {
  const { body } = await askFor(path, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": key },
    // Numbers as text keep their digits.
    body: JSON.stringify(content),
  });
  return body;
}

/** A fresh UUID of version 7. `crypto.randomUUID` is there with HTTPS only. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const time = BigInt(Date.now());
  for (let index = 0; index < 6; index++) bytes[index] = Number((time >> BigInt(40 - 8 * index)) & 255n);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Buys: `{username, userid, price}`. */
export async function buy(purchase, key) {
  return (await record("v1/purchases", { ...purchase, price: asJson(purchase.price) }, key)).purchase;
}

/** A page of `whose` purchases, the newest first: `{items, next, isPending}`. */
export async function page(whose, { limit, cursor, waitFor, wait }) {
  const asked = { ...whose, limit, cursor, wait_for: waitFor, wait: waitFor && wait };
  const { body, isPending } = await askFor(`v1/purchases?${query(asked)}`);
  return { ...body, isPending };
}

/** `{count, total_spent}` of a user. */
export async function summary(whose, { waitFor, wait } = {}) {
  return (await askFor(`v1/summary?${query({ ...whose, wait_for: waitFor, wait: waitFor && wait })}`)).body;
}

/** Where `/health` is: the prefixes of the replaced systems lead to the pages, but not to it. */
let healthPath = "health?details=true";

/** The body of `/health`, for every status. */
export async function health() {
  let { response, body } = await ask(healthPath, { timeout: HEALTH_TIMEOUT });
  if (response.status === 404 && healthPath.startsWith("health")) {
    healthPath = `../${healthPath}`;
    ({ response, body } = await ask(healthPath, { timeout: HEALTH_TIMEOUT }));
  }
  if (body.status === undefined) throw new Refusal(`The service answered ${response.status}.`, { status: response.status });
  // The details are for operators.
  if (body.kafkaReady === undefined && response.ok) askForKey();
  return body;
}

/** The paths that the service has, without a prefix. */
export async function paths() {
  // The list is where the page is.
  const { body } = await askFor(FOLDER === "" ? "./" : location.pathname);
  const all = Object.keys(body).map((line) => line.split(" ").at(-1));
  const root = all.find((path) => path.endsWith("/")) ?? "/";
  return new Set(all.map((path) => path.slice(root.length - 1)));
}

/** Registers a user: `{email, name}`. */
export function register(user, key) {
  return record("users", user, key);
}

/** The user of this number: `{id, email, name}`. */
export async function user(id) {
  return (await askFor(`users/${id}`)).body;
}

/** The numbers of the orders that a user is known to have placed, the first 1,000. */
export async function ordersOf(user) {
  return (await askFor(`users/${user}/orders`)).body.orders;
}

/** Places an order: `{user_id, product, quantity, total_price}`. */
export function place(order, key) {
  return record("orders", order, key);
}

/** The order of this number: `{id, user_id, product, quantity, total_price}`. */
export async function order(id) {
  return (await askFor(`orders/${id}`)).body;
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given).toString();
}
