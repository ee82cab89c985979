import assert from "node:assert/strict";
import { test } from "node:test";

import { peakOf, scaleOf } from "../../page/bars.js";

test("the axis of amounts has 3 to 5 round ticks", () => {
  assert.deepEqual(scaleOf([]), { ticks: [0], top: 0, low: 0, isCut: false });
  assert.deepEqual(scaleOf([0, 12, 7]), { ticks: [0, 5, 10, 15], top: 15, low: 0, isCut: false });
  for (let amount = 0.01; amount < 1e9; amount *= 1.3) {
    const { ticks, top, isCut } = scaleOf([amount]);
    assert.ok(ticks.length >= 3 && ticks.length <= 5 && top >= amount && top <= 2 * amount && !isCut, JSON.stringify([amount, ticks]));
  }
});

test("an outlier is beyond the axis, and many high amounts are not", () => {
  assert.deepEqual(scaleOf([3, 1_000_000, 9, 5]), { ticks: [0, 5, 10], top: 10, low: 0, isCut: true });
  assert.equal(scaleOf([20, 60, 90, 100]).isCut, false);
  // Of thirty, the three highest.
  assert.equal(scaleOf([...Array(27).fill(10), 1e6, 1e5, 1e4]).top, 10);
  assert.equal(scaleOf([...Array(26).fill(10), 1e6, 1e5, 1e4, 1e4]).isCut, true);
});

test("the axis goes below zero where more was refunded than spent", () => {
  assert.deepEqual(scaleOf([20, -67.49]), { ticks: [-100, -50, 0, 50], top: 50, low: -100, isCut: false });
  assert.deepEqual(scaleOf([-3]), { ticks: [-3, -2, -1, 0], top: 0, low: -3, isCut: false });
  assert.deepEqual(scaleOf([3, -1_000_000, 9, -5]), { ticks: [-5, 0, 5, 10], top: 10, low: -5, isCut: true });
  for (let amount = 0.01; amount < 1e9; amount *= 1.3) {
    for (const other of [amount, amount / 3]) {
      const { ticks, top, low } = scaleOf([other, -amount]);
      assert.ok(ticks.length >= 3 && ticks.length <= 5 && ticks.includes(0) && low <= -amount && top >= other, JSON.stringify([amount, other, ticks]));
    }
  }
});

test("the maximum is one of the bars that are shown", () => {
  const bar = (day, count, total) => ({ day, count, total });
  assert.equal(peakOf([bar("a", "1", "5"), bar("b", "2", "12.5"), bar("c", "0", "-3")]).day, "b");
  // In the place of what was before there is no bar.
  assert.equal(peakOf([bar("a", "0", "-5"), bar("b", "0", "0"), bar("c", "1", "-3")]).day, "c");
  assert.equal(peakOf([bar("b", "0", "0")]).day, "b");
});
