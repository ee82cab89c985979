import assert from "node:assert/strict";
import { test } from "node:test";

import { axisOf, beforeOf, boundsOf, dayAt, moved, offsetsOf, periodTotals, rangeOf, ticksOf, zoneOf } from "../../page/ranges.js";

const NOW = new Date("2026-03-01T23:30:00Z");
/** A range in a zone: what else is called in the test is in it, too. */
const inZone = (zone, params, now = NOW) => {
  process.env.TZ = zone;
  return rangeOf(params, now);
};

test("a day is one of the zone", () => {
  assert.equal(dayAt(NOW, 0), "2026-03-01");
  assert.equal(dayAt(NOW, 60), "2026-03-02");
  assert.equal(dayAt("2026-03-01T00:30:00Z", -60), "2026-02-28");
  assert.deepEqual([0, 60, -210, 765].map(zoneOf), ["+00:00", "+01:00", "-03:30", "+12:45"]);
});

test("named ranges end today and are open", () => {
  for (const [range, first, per] of [["7d", "2026-02-24", "day"], ["30d", "2026-02-01", "day"], ["12m", "2025-04-01", "month"], ["all", null, "month"]]) {
    const read = inZone("Europe/Berlin", { range });
    assert.deepEqual([read.name, read.first, read.last, read.per, read.isOpen], [range, first, "2026-03-02", per, true]);
  }
  assert.deepEqual(boundsOf(inZone("Europe/Berlin", { range: "7d" })), { from: "2026-02-23T23:00:00.000Z", to: undefined });
  assert.deepEqual(boundsOf(inZone("UTC", { range: "all" })), { from: undefined, to: undefined });
});

test("a range between two days contains both", () => {
  const range = inZone("America/St_Johns", { from: "2026-01-30", to: "2026-02-28" });
  assert.deepEqual(boundsOf(range), { from: "2026-01-30T03:30:00.000Z", to: "2026-03-01T03:30:00.000Z" });
  assert.equal(range.isOpen, false);
});

test("days begin at midnight of their own offset", () => {
  const range = inZone("Europe/Berlin", { from: "2026-03-28", to: "2026-03-30" }, "2026-07-01T12:00:00Z");
  assert.deepEqual(boundsOf(range), { from: "2026-03-27T23:00:00.000Z", to: "2026-03-30T22:00:00.000Z" });
  // In Beirut the summer time begins at midnight: the day begins at one o'clock.
  assert.equal(boundsOf(inZone("Asia/Beirut", { from: "2026-03-29", to: "2026-03-30" })).from, "2026-03-28T22:00:00.000Z");
});

test("totals are asked for in each offset in which a period of the range begins or ends", () => {
  const offsets = (zone, params, now = "2026-11-22T12:00:00Z") => offsetsOf(inZone(zone, params, now));
  assert.deepEqual(offsets("Europe/Berlin", { from: "2026-03-28", to: "2026-03-30" }), [120, 60]);
  // The last day ends where the offset has not changed yet, and the first begins where it has.
  assert.deepEqual(offsets("Europe/Berlin", { from: "2026-03-20", to: "2026-03-28" }), [60]);
  assert.deepEqual(offsets("Europe/Berlin", { from: "2026-03-30", to: "2026-03-31" }), [120]);
  assert.deepEqual(offsets("Europe/Berlin", { range: "12m" }), [60, 120]);
  assert.deepEqual(offsets("Europe/Berlin", { range: "all" }), [60, 120]);
  assert.deepEqual(offsets("Europe/Berlin", { from: "2016-01-01", to: "2025-12-31" }), [60, 120]);
  assert.deepEqual(offsets("UTC", { range: "all" }), [0]);
  assert.ok(offsets("Europe/Moscow", { range: "all" }).length >= 2);
});

/** What the service answers for these times in each offset of a range: a purchase for 1 at each. */
function answersFor(range, times) {
  const length = range.per === "month" ? 7 : 10;
  return offsetsOf(range).map((offset) => {
    const startOf = (time) => {
      const local = new Date(Date.parse(time) + offset * 60_000).toISOString();
      const first = `${local.slice(0, length)}${range.per === "month" ? "-01" : ""}T00:00:00Z`;
      return new Date(Date.parse(first) - offset * 60_000).toISOString();
    };
    const starts = [...new Set(times.map(startOf))];
    const countAt = (start) => String(times.filter((time) => startOf(time) === start).length);
    return { offset, buckets: starts.map((from) => ({ from, count: countAt(from), total_spent: `${countAt(from)}.10` })) };
  });
}

test("months have the purchases of their days in every range and zone", () => {
  const minute = 60_000;
  for (const zone of ["Europe/Berlin", "America/New_York", "Asia/Beirut", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]) {
    for (const params of [{ range: "all" }, { range: "12m" }, { from: "2022-03-15", to: "2026-10-31" }, { from: "2026-03-28", to: "2026-04-02" }, { from: "2026-01-01", to: "2026-12-31", per: "week" }]) {
      const range = inZone(zone, params, "2026-11-22T12:00:00Z");
      const monthOf = (time) => `${new Date(time).getFullYear()}-${String(new Date(time).getMonth() + 1).padStart(2, "0")}-01`;
      const mondayOf = (time) => {
        const day = new Date(time);
        return dayAt(Date.UTC(day.getFullYear(), day.getMonth(), day.getDate() - ((day.getDay() + 6) % 7)), 0);
      };
      const dayOf = (time) => dayAt(time, -new Date(time).getTimezoneOffset());
      const nameOf = { month: monthOf, week: mondayOf, day: dayOf }[range.per];
      const { from = "2019-01-01T00:00:00Z", to = "2026-11-22T12:00:00Z" } = boundsOf(range);
      const times = [];
      // Half an hour around the midnights at which months begin, and some in between.
      for (let month = 0; month < 96; month++) {
        const midnight = new Date(2019, month, 1).getTime();
        for (const offset of [-30, 30, 14 * 1440]) {
          const time = new Date(midnight + offset * minute).toISOString();
          if (time >= new Date(from).toISOString() && time < new Date(to).toISOString()) times.push(time);
        }
      }
      const expected = new Map();
      for (const time of times) expected.set(nameOf(time), (expected.get(nameOf(time)) ?? 0) + 1);
      const found = periodTotals(range, answersFor(range, times));
      assert.deepEqual(found.map(({ day, count }) => [day, Number(count)]), [...expected].sort(), `${zone} ${JSON.stringify(params)}`);
    }
  }
});

test("parts of a day or month are one bucket", () => {
  const bucket = (from, count, total_spent) => ({ from, count, total_spent });
  const answers = [
    { offset: 60, buckets: [bucket("2026-03-27T23:00:00Z", "1", "1.50"), bucket("2026-03-28T23:00:00Z", "6", "1000000000000000.10000001"), bucket("2026-03-29T23:00:00Z", "3", "2")] },
    { offset: 120, buckets: [bucket("2026-03-27T22:00:00Z", "2", "1.60"), bucket("2026-03-28T22:00:00Z", "4", "1000000000000000.00000001"), bucket("2026-03-29T22:00:00Z", "4", "2")] },
  ];
  const range = inZone("Europe/Berlin", { from: "2026-03-28", to: "2026-03-30", per: "day" }, "2026-07-01T12:00:00Z");
  assert.deepEqual(periodTotals(range, answers), [
    { day: "2026-03-28", count: "1", total: "1.50" },
    { day: "2026-03-29", count: "5", total: "1000000000000000.10000001" },
    { day: "2026-03-30", count: "4", total: "2" },
  ]);
  assert.deepEqual(periodTotals({ ...range, per: "month" }, answers), [{ day: "2026-03-01", count: "10", total: "1000000000000003.60000001" }]);
});

test("a day of refunds alone has a total, and one without anything is left out", () => {
  const buckets = [{ from: "2026-02-01T00:00:00Z", count: "0", total_spent: "-5.00" }, { from: "2026-02-02T00:00:00Z", count: "0", total_spent: "0.00" }];
  const range = inZone("UTC", { from: "2026-02-01", to: "2026-02-28" });
  assert.deepEqual(periodTotals(range, [{ offset: 0, buckets }]), [{ day: "2026-02-01", count: "0", total: "-5.00" }]);
});

test("what is no range is the default one", () => {
  for (const params of [{}, { range: "9d" }, { from: "2026-02-30", to: "2026-03-01" }, { from: "2026-03-02", to: "2026-03-01" }, { from: "x" }, { range: "constructor" }]) {
    assert.equal(inZone("UTC", params).name, "30d", JSON.stringify(params));
  }
});

test("only as many bars are drawn as there is room for", () => {
  const at = (from, per) => inZone("UTC", { from, to: "2026-03-01", per });
  assert.deepEqual([at("2025-11-30").per, at("2025-11-30").choices], ["day", ["day", "week", "month"]]);
  assert.deepEqual([at("2025-11-29", "day").per, at("2025-11-29").choices], ["month", ["week", "month"]]);
  assert.equal(at("2025-11-29", "week").per, "week");
  assert.deepEqual(at("2023-11-29", "week").choices, ["month"]);
  assert.equal(at("2026-02-01", "month").per, "month");
});

test("weeks begin on Monday and are exact sums", () => {
  const buckets = ["2026-02-22", "2026-02-23", "2026-03-01", "2026-03-02"].map((day) => ({ from: `${day}T12:00:00Z`, count: "1", total_spent: "10000000000000000.1" }));
  assert.deepEqual(periodTotals(inZone("UTC", { from: "2026-02-01", to: "2026-03-02", per: "week" }), [{ offset: 0, buckets }]), [
    { day: "2026-02-16", count: "1", total: "10000000000000000.1" },
    { day: "2026-02-23", count: "2", total: "20000000000000000.2" },
    { day: "2026-03-02", count: "1", total: "10000000000000000.1" },
  ]);
});

const bucket = (day, count) => ({ day, count, total: `${count}.5` });

test("bars have their places in the range", () => {
  const axis = axisOf([bucket("2026-02-24", "1"), bucket("2026-03-01", "2")], inZone("Europe/Berlin", { range: "7d" }), [bucket("2026-02-25", "3"), bucket("2026-03-01", "4")]);
  assert.deepEqual([axis.slots, axis.first, axis.last], [7, "2026-02-24", "2026-03-02"]);
  assert.deepEqual(axis.bars, [
    { slot: 0, ...bucket("2026-02-24", "1"), before: undefined },
    { slot: 1, day: "2026-02-25", count: "0", total: "0", before: "3.5" },
    { slot: 5, ...bucket("2026-03-01", "2"), before: "4.5" },
  ]);
  const all = axisOf([bucket("2025-12-01", "1"), bucket("2026-02-01", "2")], inZone("Europe/Berlin", { range: "all" }));
  assert.deepEqual([all.slots, all.first, all.last, all.bars.map(({ slot }) => slot)], [4, "2025-12-01", "2026-03-01", [0, 2]]);
  const weeks = axisOf([bucket("2026-02-23", "1")], inZone("UTC", { from: "2026-02-01", to: "2026-03-01", per: "week" }));
  assert.deepEqual([weeks.slots, weeks.first, weeks.last, weeks.bars[0].slot], [5, "2026-01-26", "2026-02-23", 4]);
});

test("many years are drawn from the first purchase on, too many months as years", () => {
  const range = inZone("UTC", { from: "1900-01-01", to: "2026-03-01" });
  const months = axisOf([bucket("2025-01-01", "1"), bucket("2026-02-01", "2")], range);
  assert.deepEqual([months.per, months.slots, months.first], ["month", 15, "2025-01-01"]);
  const years = axisOf([bucket("2016-01-01", "1"), bucket("2026-01-01", "2"), bucket("2026-02-01", "3")], range);
  assert.deepEqual([years.per, years.slots, years.first, years.last], ["year", 11, "2016-01-01", "2026-01-01"]);
  assert.deepEqual(years.bars.map(({ slot, total }) => [slot, total]), [[0, "1.5"], [10, "6.0"]]);
});

test("the time before has the same length", () => {
  const of = (params, now = NOW) => beforeOf(inZone("UTC", params, now), now);
  const month = of({ range: "30d" });
  // Today is not over: neither is its day before.
  assert.deepEqual([month.from, month.to, month.words], ["2026-01-01T00:00:00.000Z", "2026-01-30T23:30:00.000Z", "the 30 days before"]);
  assert.deepEqual([month.per, month.move("2026-01-30")], ["day", "2026-03-01"]);
  const closed = of({ from: "2026-02-01", to: "2026-02-28" });
  assert.deepEqual([closed.from, closed.to], ["2026-01-04T00:00:00.000Z", "2026-02-01T00:00:00.000Z"]);
  const year = of({ range: "12m" });
  assert.deepEqual([year.from, year.to, year.words], ["2024-04-01T00:00:00.000Z", "2025-03-01T23:30:00.000Z", "a year before"]);
  assert.deepEqual([year.per, year.move("2024-04-01")], ["month", "2025-04-01"]);
  assert.equal(of({ range: "12m", per: "week" }).move("2024-04-02"), "2025-04-02");
  assert.deepEqual([of({ range: "all" }), of({ from: "2016-01-01", to: "2026-01-01" })], [null, null]);
  const before = periodTotals(closed, [{ offset: 0, buckets: [{ from: "2026-01-04T00:00:00Z", count: "1", total_spent: "2" }] }]);
  assert.deepEqual(moved(before, closed.move, "day"), [{ day: "2026-02-01", count: "1", total: "2" }]);
});

test("an axis has 3 to 5 ticks", () => {
  const days = (params, most) => {
    const axis = axisOf([bucket("2026-02-24", "1")], inZone("UTC", params));
    return ticksOf(axis, most).map(axis.dayOf);
  };
  assert.deepEqual(days({ range: "7d" }, 5), ["2026-02-23", "2026-02-25", "2026-02-27", "2026-03-01"]);
  assert.deepEqual(days({ range: "7d" }, 3), ["2026-02-23", "2026-02-26", "2026-03-01"]);
  assert.deepEqual(days({ range: "30d" }, 5), ["2026-02-02", "2026-02-09", "2026-02-16", "2026-02-23"]);
  assert.deepEqual(days({ from: "2025-12-01", to: "2026-02-28" }, 4), ["2025-12-01", "2026-01-01", "2026-02-01"]);
  assert.deepEqual(days({ range: "12m" }, 5), ["2025-04-01", "2025-07-01", "2025-10-01", "2026-01-01"]);
  assert.deepEqual(days({ from: "2026-02-24", to: "2026-02-25" }, 5), ["2026-02-24", "2026-02-25"]);
  for (const per of ["day", "week", "month", "year"]) {
    for (let slots = 3; slots < 400; slots++) {
      for (const most of [3, 4, 5]) {
        const ticks = ticksOf({ per, start: 20_000, slots }, most);
        assert.ok(ticks.length >= 3 && ticks.length <= most && ticks.at(-1) < slots, JSON.stringify([per, slots, most, ticks]));
      }
    }
  }
});
