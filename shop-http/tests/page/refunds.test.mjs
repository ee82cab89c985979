import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { pathname: "/", hash: "" };
const { withRefunds } = await import("../../page/purchases.js");
const { readRefund } = await import("../../page/purchase.js");

test("a refund is below its purchase, or at its time", () => {
  const items = [{ id: "r2", of: "b2" }, { id: "b3" }, { id: "r9", of: "b9" }, { id: "b2" }, { id: "b1" }];
  assert.deepEqual(withRefunds(items).map(({ id }) => id), ["b3", "r9", "b2", "r2", "b1"]);
  assert.deepEqual(withRefunds([]), []);
});

test("a refund without an amount is of the whole price", () => {
  assert.deepEqual(readRefund(""), { value: undefined });
  assert.equal(readRefund("9,99").value, "9.99");
  assert.ok(readRefund("-1").problem.startsWith("Enter "));
});
