import assert from "node:assert/strict";
import { test } from "node:test";

import { axisOf, boundsOf, dayAt, rangeOf, zoneOf } from "../../page/ranges.js";

const NOW = new Date("2026-03-01T23:30:00Z");

test("a day is one of the zone", () => {
  assert.equal(dayAt(NOW, 0), "2026-03-01");
  assert.equal(dayAt(NOW, 60), "2026-03-02");
  assert.equal(dayAt("2026-03-01T00:30:00Z", -60), "2026-02-28");
  assert.deepEqual([0, 60, -210, 765].map(zoneOf), ["+00:00", "+01:00", "-03:30", "+12:45"]);
});

test("named ranges end today and are open", () => {
  for (const [range, first, per] of [["7d", "2026-02-24", "day"], ["30d", "2026-02-01", "day"], ["12m", "2025-04-01", "month"], ["all", null, "month"]]) {
    const read = rangeOf({ range }, NOW, 60);
    assert.deepEqual([read.name, read.first, read.last, read.per, read.isOpen], [range, first, "2026-03-02", per, true]);
  }
  const { from, to } = boundsOf(rangeOf({ range: "7d" }, NOW, 60));
  assert.deepEqual([from, to], ["2026-02-24T00:00:00+01:00", undefined]);
  assert.deepEqual(boundsOf(rangeOf({ range: "all" }, NOW, 0)), { from: undefined, to: undefined });
});

test("a range between two days contains both", () => {
  const range = rangeOf({ from: "2026-01-30", to: "2026-02-28" }, NOW, -210);
  assert.deepEqual(boundsOf(range), { from: "2026-01-30T00:00:00-03:30", to: "2026-03-01T00:00:00-03:30" });
  assert.equal(range.isOpen, false);
});

test("what is no range is the default one", () => {
  for (const params of [{}, { range: "9d" }, { from: "2026-02-30", to: "2026-03-01" }, { from: "2026-03-02", to: "2026-03-01" }, { from: "x" }, { range: "constructor" }]) {
    assert.equal(rangeOf(params, NOW, 0).name, "30d", JSON.stringify(params));
  }
});

test("only as many days are drawn as there is room for", () => {
  const at = (from, per) => rangeOf({ from, to: "2026-03-01", per }, NOW, 0);
  assert.deepEqual([at("2025-11-30").per, at("2025-11-30").canBeDaily], ["day", true]);
  assert.deepEqual([at("2025-11-29", "day").per, at("2025-11-29").canBeDaily], ["month", false]);
  assert.equal(at("2026-02-01", "month").per, "month");
});

test("bars have their places in the range", () => {
  const bucket = (from, count) => ({ from, count, total_spent: `${count}.5` });
  const week = rangeOf({ range: "7d" }, NOW, 60);
  // The first is cut off at the start of the range, the second starts at midnight of the zone.
  const axis = axisOf([bucket("2026-02-24T00:10:00Z", "1"), bucket("2026-02-28T23:00:00Z", "2")], week);
  assert.deepEqual([axis.slots, axis.first, axis.last], [7, "2026-02-24", "2026-03-02"]);
  assert.deepEqual(axis.bars, [
    { slot: 0, day: "2026-02-24", count: "1", total: "1.5" },
    { slot: 5, day: "2026-03-01", count: "2", total: "2.5" },
  ]);
  const all = axisOf([bucket("2025-11-30T23:00:00Z", "1"), bucket("2026-01-31T23:00:00Z", "2")], rangeOf({ range: "all" }, NOW, 60));
  assert.deepEqual([all.slots, all.first, all.last, all.bars.map(({ slot }) => slot)], [4, "2025-12-01", "2026-03-01", [0, 2]]);
});
