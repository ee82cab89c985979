// What the page asks the service. Addresses are relative, so that the page also works behind a prefix.

import { parseExact } from "./exact.js";

/** An answer that says what went wrong, or that none came. */
export class Refusal extends Error {
  constructor(text, { status = 0, field, retryAfter, outcome } = {}) {
    super(text);
    Object.assign(this, { status, field, retryAfter, outcome });
  }

  /** Whether the same request may succeed later. */
  get mayPass() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

async function ask(path, options = {}) {
  let response, text;
  try {
    response = await fetch(path, {
      ...options,
      headers: { accept: "application/json", ...options.headers },
      cache: "no-store",
      signal: AbortSignal.timeout(20_000),
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
  return { response, body };
}

async function askV1(path, options) {
  const { response, body } = await ask(path, options);
  if (response.ok) return { body, isPending: response.headers.has("x-purchase-pending") };
  throw new Refusal(body.detail ?? body.title ?? `The service answered ${response.status}.`, {
    status: response.status,
    field: body.field,
    outcome: body.outcome,
    retryAfter: Number(response.headers.get("retry-after")) || undefined,
  });
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

/** Buys. With the same key as often as needed: it stays one purchase. */
export async function buy({ username, userid, price }, key) {
  const { body } = await askV1("v1/purchases", {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": key },
    // The price as text keeps its digits.
    body: JSON.stringify({ username, userid, price }),
  });
  return body.purchase;
}

/** A page of `whose` purchases, the newest first: `{items, next, isPending}`. */
export async function page(whose, { limit, cursor, waitFor, wait }) {
  const asked = { ...whose, limit, cursor, wait_for: waitFor, wait: waitFor && wait };
  const { body, isPending } = await askV1(`v1/purchases?${query(asked)}`);
  return { ...body, isPending };
}

/** `{count, total_spent}` of a user. */
export async function summary(whose) {
  return (await askV1(`v1/summary?${query(whose)}`)).body;
}

/** What `/health` says, whatever its status. */
export async function health() {
  const { response, body } = await ask("health");
  if (body.status === undefined) throw new Refusal(`The service answered ${response.status}.`);
  return body;
}

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  return new URLSearchParams(given).toString();
}
