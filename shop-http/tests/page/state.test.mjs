import assert from "node:assert/strict";
import { test } from "node:test";

import { Attempt, freshKey } from "../../page/attempt.js";
import { LOADING, noticeOf, step } from "../../page/state.js";

const refused = { type: "refused", problem: "Service unavailable", mayPass: true };
const after = (...events) => events.reduce(step, LOADING);

test("a view without an answer has failed, and is not empty", () => {
  const failed = after(refused);
  assert.equal(failed.is, "failed");
  assert.equal(noticeOf(failed, "The list"), "The list cannot be loaded: Service unavailable. Trying again…");
  assert.equal(after(refused, { type: "answered", data: null }).is, "empty");
  assert.equal(after({ type: "answered", data: null }, refused).is, "failed");
});

test("what is shown stays when it cannot be loaded again, and is said to be old", () => {
  const data = { items: [] };
  const old = after({ type: "answered", data }, refused);
  assert.deepEqual([old.is, old.data], ["shown", data]);
  assert.equal(noticeOf(old, "The list"), "The list may be out of date: Service unavailable. Trying again…");
  assert.equal(noticeOf(step(old, { type: "answered", data }), "The list"), "");
  assert.equal(noticeOf({ ...old, mayPass: false }, "The list"), "The list may be out of date: Service unavailable.");
});

test("another question forgets the answer to the one before", () => {
  assert.equal(after({ type: "answered", data: {} }, { type: "asked" }), LOADING);
});

test("the same answer is the same state", () => {
  const state = after({ type: "answered", data: {} });
  assert.equal(step(state, { type: "answered", data: state.data }), state);
});

test("the same content in doubt keeps its key, another one gets another", () => {
  const attempt = new Attempt("purchase");
  const key = attempt.at({ price: "1", userid: "u1" });
  assert.match(key, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(attempt.at({ price: "1", userid: "u1" }), key);
  assert.notEqual(attempt.at({ price: "1", userid: "u2" }), key);
  attempt.forget();
  assert.equal(attempt.kept(), null);
  assert.notEqual(freshKey(), freshKey());
});
