import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { pathname: "/", hash: "" };
const { summaryOf } = await import("../../page/resolving.js");

test("a dry run says what would be done", () => {
  const results = ["refused", "replayed", "replayed"].map((status) => ({ status }));
  assert.equal(summaryOf(results, "would be "), "2 would be replayed, 1 refused.");
  assert.equal(summaryOf(results), "2 replayed, 1 refused.");
  assert.equal(summaryOf([{ status: "unknown" }], "would be "), "1 unknown.");
  assert.equal(summaryOf([{ status: "dead_letter" }, { status: "replayed" }], "would be "), "1 would be replayed, 1 would come back.");
});
