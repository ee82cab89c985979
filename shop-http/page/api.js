// The requests of the page. Paths are relative, so that the page works behind a prefix.

import { authorization, refused } from "./access.js";
import { asJson, parseExact } from "./exact.js";

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

/** Where the paths of operators are: an ingress may lead to the pages below a prefix, but not to these. */
let operations = "";

/** Sends a request and reads its answer; an operation may be above the page's prefix. */
async function exchange(path, { isOperation, ...options }, read) {
  if (!isOperation) return send(path, options, read);
  const answer = await send(operations + path, options, read);
  if (answer.response.status !== 404 || operations !== "") return answer;
  const above = await send(`../${path}`, options, read);
  if (above.response.status === 404) return answer;
  operations = "../";
  return above;
}

/** Without a `timeout` it may take as long as it takes. */
async function send(path, { timeout, ...options }, read) {
  try {
    const response = await fetch(path.startsWith("/") ? path : FOLDER + path, {
      ...options,
      headers: { accept: "application/json", ...authorization(), ...options.headers },
      cache: "no-store",
      ...(timeout && { signal: AbortSignal.timeout(timeout) }),
    });
    return { response, content: await read(response) };
  } catch {
    throw new Refusal("The service cannot be reached.");
  }
}

async function ask(path, options) {
  const { response, content } = await exchange(path, { timeout: TIMEOUT, ...options }, (response) => response.text());
  return { response, body: bodyOf(response, content) };
}

/** The body of an answer as JSON. Who has no valid key is asked for one. */
function bodyOf(response, text) {
  let body;
  try {
    body = parseExact(text);
  } catch {
    body = {};
  }
  if (response.status === 401) refused();
  return body;
}

/** The same, for a successful response. */
async function askFor(path, options) {
  const { response, body } = await ask(path, options);
  if (!response.ok) throw refusalOf(response, body);
  return { body, isPending: response.headers.has("x-purchase-pending"), at: response.headers.get("date") ?? undefined };
}

/** For people: what a missing or insufficient key means. */
const WORDS = { 401: () => "You are signed out.", 403: (text) => `Your access key does not allow this. ${text}` };

function refusalOf(response, body) {
  const problems = problemsOf(body);
  const text = problems[0]?.text ?? body.detail ?? body.title ?? `The service answered ${response.status}.`;
  return new Refusal((WORDS[response.status] ?? ((text) => text))(text), {
    status: response.status,
    problems,
    outcome: body.outcome,
    retryAfter: Number(response.headers.get("retry-after")) || undefined,
  });
}

/** The errors of members in an error response. */
function problemsOf({ errors = [] }) {
  const placed = errors.filter(({ pointer }) => pointer !== undefined);
  return placed.map(({ pointer, detail }) => ({ member: pointer.split("/").at(-1), text: detail }));
}

/** Sends `content`. Numbers as text keep their digits. */
async function post(path, content, { headers, ...options }) {
  const sent = { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(content) };
  return askFor(path, { ...options, ...sent });
}

/** The same. Repeated with the same key, it is recorded once. It is sent also when the page is left. */
const record = async (path, content, key) => (await post(path, content, { headers: { "idempotency-key": key }, keepalive: true })).body;

/** Buys: `{username, userid, price, item}`. */
export async function buy(purchase, key) {
  return (await record("v1/purchases", { ...purchase, price: asJson(purchase.price) }, key)).purchase;
}

/** Refunds the purchase with this ID: `{id, amount, reason}`. */
export async function refund({ id, ...content }, key) {
  return (await record(`v1/purchases/${id}:refund`, content, key)).purchase;
}

/** How the service would read the beginning of a file: `{delimiter, columns, rows}`. */
export async function previewImport(file, { format, ...options }) {
  const path = `v1/purchases:import?${query({ ...options, dry_run: true })}`;
  return (await askFor(path, { method: "POST", headers: { "content-type": format }, body: file })).body;
}

/** Imports a file, and returns the last report. `onReport` is called with each one before it. */
export async function importFile(file, { format, ...options }, signal, onReport) {
  const sent = { method: "POST", headers: { "content-type": format }, body: file, signal };
  const read = async (response) => {
    if (!response.ok) return bodyOf(response, await response.text());
    let last;
    for await (const line of linesOf(response.body)) {
      if (last) onReport(last);
      last = parseExact(line);
    }
    return last;
  };
  const { response, content } = await send(`v1/purchases:import?${query(options)}`, sent, read);
  if (!response.ok) throw refusalOf(response, content);
  if (!content?.done) throw new Refusal("The import ended early.");
  return content;
}

/** The lines of a body, as they arrive. */
async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines;
  }
}

/** The purchase with this ID; null if none is stored. */
export async function purchase(id) {
  const { response, body } = await ask(`v1/purchases/${id}`);
  if (response.status === 404) return null;
  if (!response.ok) throw refusalOf(response, body);
  return body;
}

/** The first names of users that begin with `prefix`, in any case: `{items, has_more}`; null where none may be looked for. */
export async function names(prefix) {
  const { response, body } = await ask(`v1/usernames?${query({ prefix })}`);
  if ([403, 501].includes(response.status)) return null;
  if (!response.ok) throw refusalOf(response, body);
  return body;
}

/** A page of `whose` purchases from and to these times, the newest first: `{items, next, isPending}`. */
export async function page(whose, { limit, cursor, waitFor, wait, from, to }) {
  const asked = { ...whose, from, to, limit, cursor, wait_for: waitFor, wait: waitFor && wait };
  const { body, isPending } = await askFor(`v1/purchases?${query(asked)}`);
  return { ...body, isPending };
}

/** What was spent per day or month, in the order of time: `[{from, to, count, total_spent}]`. */
export async function totals(whose, { from, to, per, zone }) {
  return (await askFor(`v1/totals?${query({ ...whose, from, to, per, zone })}`)).body.buckets;
}

/** The response that streams `whose` purchases as they become visible, behind the event with this ID. */
export async function openEvents(whose, id, signal) {
  const headers = { accept: "text/event-stream", ...(id !== undefined && { "last-event-id": id }) };
  return (await exchange(`v1/purchases/events?${query(whose)}`, { headers, signal }, () => {})).response;
}

/** All of `whose` purchases from and to these times, as a file of this media type. `onProgress` gets the bytes so far. */
export async function exported(whose, { from, to }, mediaType, { signal, onProgress }) {
  let size = 0;
  const transform = (part, file) => {
    onProgress((size += part.length));
    file.enqueue(part);
  };
  const read = (response) => (response.ok ? new Response(response.body.pipeThrough(new TransformStream({ transform })), response).blob() : response.text());
  const { response, content } = await exchange(`v1/purchases?${query({ ...whose, from, to })}`, { headers: { accept: mediaType }, signal }, read);
  if (!response.ok) throw refusalOf(response, bodyOf(response, content));
  if (!content.type.startsWith(mediaType)) throw new Refusal(`The service does not answer with ${mediaType}.`, { status: response.status });
  return content;
}

/** The holder of the key, `{name, subject, may}`; of a key that is not valid, the `{problem}`. */
export async function whoami() {
  const { response, content } = await send("v1/whoami", { timeout: TIMEOUT }, (response) => response.text());
  const body = response.status === 401 ? { problem: "This access key is not valid." } : parseExact(content);
  if (!response.ok && response.status !== 401) throw refusalOf(response, body);
  return body;
}

/** The body of `/health`, for every status; with the last hour by `history: true`. */
export async function health(more) {
  const { response, body } = await ask(`health?${query({ details: true, ...more })}`, { isOperation: true, timeout: HEALTH_TIMEOUT });
  if (body.status === undefined) throw new Refusal(`The service answered ${response.status}.`, { status: response.status });
  return body;
}

/** The text at a path. */
async function text(path, options) {
  const { response, content } = await exchange(path, { timeout: TIMEOUT, headers: { accept: "text/plain" }, ...options }, (response) => response.text());
  if (!response.ok) throw refusalOf(response, bodyOf(response, content));
  return content;
}

/** The text of `/metrics`. */
export const metrics = () => text("metrics", { isOperation: true });

/** The runbooks, in Markdown. */
export const runbooks = () => text("page/runbooks.txt");

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
  return record("v1/users", user, key);
}

/** The user of this number: `{id, email, name}`. */
export async function user(id) {
  return (await askFor(`v1/users/${id}`)).body;
}

/** The numbers of the orders that a user is known to have placed, the first 1,000. */
export async function ordersOf(user) {
  return (await askFor(`v1/users/${user}/orders`)).body.orders;
}

/** Places an order: `{user_id, product, quantity, total_price}`. */
export function place(order, key) {
  return record("v1/orders", order, key);
}

/** The order of this number: `{id, user_id, product, quantity, total_price}`. */
export async function order(id) {
  return (await askFor(`v1/orders/${id}`)).body;
}

/** A page of pending dead letters, by position, without their records: `{items, next, stuck}`. */
export async function deadLetters({ topic, reason, since, limit, cursor }) {
  return (await askFor(`v1/dead-letters?${query({ topic, reason, since, limit, cursor })}`, { isOperation: true })).body;
}

/** The pending dead letter at this position, with its record. */
export async function deadLetter(position) {
  return (await askFor(`v1/dead-letters/${encodeURIComponent(position)}`, { isOperation: true })).body;
}

/** The outcome of `replay` or `discard` for each dead letter, `[{position, status, detail}]`, and the service's time. The audit log has the `reason`. */
export async function resolve(how, positions, isDryRun, reason) {
  const { body, at } = await post(`v1/dead-letters:${how}`, { positions, dry_run: isDryRun, reason }, { isOperation: true });
  return { results: body.results, at };
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given).toString();
}
