import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { pathname: "/", hash: "" };
const { countsOf, inPlace } = await import("../../page/deadletters.js");
const { cameBack, fatesOf } = await import("../../page/following.js");

const at = (...positions) => positions.map((position) => ({ position }));

test("new dead letters are listed at the end", () => {
  assert.deepEqual(inPlace(at("a-0-1", "a-1-1"), at("a-0-1", "a-0-2", "a-1-1")), at("a-0-1", "a-1-1", "a-0-2"));
  assert.deepEqual(inPlace(at("a-0-1", "a-0-2"), at("a-0-2")), at("a-0-2"));
  assert.deepEqual(inPlace([], at("a-0-2")), at("a-0-2"));
});

test("reasons are counted from the list where it is whole", () => {
  const topics = [{ topic: "a", byReason: { conflict: 50, gap: 1 } }, { topic: "b", byReason: { gap: 2 } }, { topic: "c" }];
  const items = [{ reason: "conflict" }];
  assert.deepEqual(countsOf(undefined, {}, topics), { conflict: 50, gap: 3 });
  assert.deepEqual(countsOf({ items, next: "a-0-1" }, { topic: "b" }, topics), { gap: 2 });
  assert.deepEqual(countsOf({ items, next: null }, { reason: "conflict" }, topics), { conflict: 1, gap: 3 });
  assert.deepEqual(countsOf({ items, next: null }, {}, topics), { undecodable: 0, conflict: 1, refused: 0, parked: 0, gap: 0 });
  assert.deepEqual(countsOf({ items, next: "a-0-1" }, { since: "2026-01-01T00:00" }, topics), {});
});

test("replayed dead letters are stored, or come back at another position", () => {
  const id = (number) => `01901600-0000-7000-8000-00000000000${number}`;
  const letter = (number, reason) => ({ position: `a-0-${number}`, id: id(number), reason });
  const letters = [letter(1, "parked"), letter(2, "conflict"), letter(3, "refused"), letter(4, "conflict"), { position: "a-0-5", id: null, reason: "undecodable" }];
  const found = [letter(1, "parked"), { ...letter(2, "conflict"), position: "a-0-9" }, { position: "a-0-8", id: null, reason: "parked" }];
  const back = cameBack(letters, found);
  assert.deepEqual([...back], [[id(2), "conflict"]]);
  assert.equal(fatesOf(letters, { back, stored: new Set([id(1)]) }), "1 stored, 1 pending, 1 not back so far, 1 without ID, not followed, 1 came back: conflict.");
  assert.equal(fatesOf(letters.slice(0, 2), { back: new Map([[id(1), "refused"], [id(2), "conflict"]]), stored: new Set([id(1)]) }), "2 came back: conflict, refused.");
});
