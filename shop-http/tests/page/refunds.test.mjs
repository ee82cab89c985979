import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { pathname: "/", hash: "" };
const { refundInWords, withRefunds } = await import("../../page/rows.js");
const { readRefund } = await import("../../page/purchase.js");

test("a refund is below its purchase, or at its time", () => {
  const items = [{ id: "r2", of: "b2" }, { id: "b3" }, { id: "r9", of: "b9" }, { id: "b2" }, { id: "b1" }];
  assert.deepEqual(withRefunds(items).map(({ id }) => id), ["b3", "r9", "b2", "r2", "b1"]);
  assert.deepEqual(withRefunds([]), []);
});

test("refunds of one purchase stand together", () => {
  const items = [{ id: "r3", of: "b1" }, { id: "r2", of: "b1" }, { id: "b2" }, { id: "b1" }];
  assert.deepEqual(withRefunds(items).map(({ id }) => id), ["b2", "b1", "r3", "r2"]);
});

test("a refund says what it is of and why", () => {
  const coffee = { item: "coffee", quantity: "2" };
  assert.equal(refundInWords({ reason: "late" }, coffee), "Refund of 2 × coffee · late");
  assert.equal(refundInWords({}, coffee), "Refund of 2 × coffee");
  assert.equal(refundInWords({ reason: "late" }, {}), "Refund of a purchase · late");
  assert.equal(refundInWords({}, undefined), "Refund of a purchase");
});

test("a refund without an amount is of the whole price", () => {
  assert.deepEqual(readRefund(""), { value: undefined });
  assert.equal(readRefund("9,99").value, "9.99");
  assert.ok(readRefund("-1").problem.startsWith("Enter "));
});
