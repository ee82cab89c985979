import assert from "node:assert/strict";
import { test } from "node:test";

import { linesOf, pointsOf } from "../../page/history.js";

const SIZE = { width: 359, height: 40 };

test("a line ends at the right, and is interrupted where a value is unknown", () => {
  assert.deepEqual(pointsOf([0, 4, null, 2], SIZE), ["356.0,40.0 357.0,0.0", "359.0,20.0 359.0,20.0"]);
  assert.deepEqual(pointsOf([null], SIZE), []);
  assert.equal(pointsOf(Array(360).fill(0), SIZE)[0].split(" ")[0], "0.0,40.0", "an hour is the whole width");
});

test("figures are per second, in words, and what did not happen here is left out", () => {
  const hour = { interval_seconds: "10", bought: ["0", "0"], stored: ["0", "25"], errors: ["5", "0"], p99_ms: ["3750.0", null], lag: [null, "1200"] };
  const words = (lines) => lines.map(({ name, last, most, seconds }) => [name, last, most.replace("\u00a0", " "), seconds]);
  const expected = [["Stored", "2.5/s", "2.5/s", 20], ["Errors", "0/s", "0.5/s", 20], ["Response p99", "unknown", "3 s", 20], ["Lag", "1,200", "1,200", 20]];
  assert.deepEqual(words(linesOf(hour, SIZE)), expected);
  assert.deepEqual(linesOf({ ...hour, stored: [null, null] }, SIZE).map(({ name }) => name), ["Errors", "Response p99", "Lag"]);
  assert.deepEqual(words(linesOf({ ...hour, bought: ["0", "1"] }, SIZE))[0], ["Bought", "0.1/s", "0.1/s", 20]);
});
