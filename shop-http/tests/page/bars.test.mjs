import assert from "node:assert/strict";
import { test } from "node:test";

import { scaleOf } from "../../page/bars.js";

test("the axis of amounts has 3 to 5 round ticks", () => {
  assert.deepEqual(scaleOf([]), { ticks: [0], top: 0, isCut: false });
  assert.deepEqual(scaleOf([0, 12, 7]), { ticks: [0, 5, 10, 15], top: 15, isCut: false });
  for (let amount = 0.01; amount < 1e9; amount *= 1.3) {
    const { ticks, top, isCut } = scaleOf([amount]);
    assert.ok(ticks.length >= 3 && ticks.length <= 5 && top >= amount && top <= 2 * amount && !isCut, JSON.stringify([amount, ticks]));
  }
});

test("an outlier is beyond the axis, and many high amounts are not", () => {
  assert.deepEqual(scaleOf([3, 1_000_000, 9, 5]), { ticks: [0, 5, 10], top: 10, isCut: true });
  assert.equal(scaleOf([20, 60, 90, 100]).isCut, false);
  // Of thirty, the three highest.
  assert.equal(scaleOf([...Array(27).fill(10), 1e6, 1e5, 1e4]).top, 10);
  assert.equal(scaleOf([...Array(26).fill(10), 1e6, 1e5, 1e4, 1e4]).isCut, true);
});
