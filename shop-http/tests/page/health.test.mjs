import assert from "node:assert/strict";
import { test } from "node:test";

import { duration, entityReadingsOf, portsOf, problemsOf, readingsOf } from "../../page/health.js";

/** What `/health` says where no ingest runs, and nothing is wrong. */
const WELL = { status: "healthy", parts: { log: true, store: true, listings: true } };
const INGEST = { phase: "running", dead_lettered: "0", waiting_for: {} };
const withIngest = (members) => ({ ...WELL, ingest: { ...INGEST, ...members } });
const STUCK = { topic: "purchases", partition: "0", offset: "7", id: "p7", age_seconds: "90", error: "corrupt" };
const ORDERS = {
  store: false, outbox: "3", outbox_waits_for: "unavailable",
  events: { phase: "stopped", waiting_for: {}, dead_letters_waiting: "4" },
};

test("every problem is named, with its runbook", () => {
  for (const [health, ...problems] of [
    [WELL],
    [withIngest({ dead_letters_waiting: "0" })],
    // Those since the start are resolved.
    [withIngest({ dead_letters_waiting: "0", dead_lettered: "2" })],
    [withIngest({ dead_letters_waiting: "2" }), ["Dead letters to be replayed or discarded: 2.", "ShopDeadLettersWaiting"]],
    [withIngest({ dead_lettered: "1" }), ["Dead letters since the start: 1.", "ShopDeadLettersWaiting"]],
    [{ ...WELL, status: "degraded" }, ["The service reports that it is degraded.", "runbooks"]],
    [{ ...WELL, parts: { log: false } }, ["The log is unavailable.", "outages"]],
    [{ ...WELL, parts: { store: false } }, ["The store is unavailable.", "outages"]],
    [{ ...WELL, parts: { listings: false } }, ["The store is unavailable.", "outages"]],
    [withIngest({ phase: "stopped" }), ["Ingest has stopped.", "ShopIngestStopped"]],
    [withIngest({ phase: "stopped", stopped_because: "too many dead letters" }), ["Ingest has stopped: too many dead letters.", "ShopIngestStopped"]],
    [withIngest({ phase: "draining" }), ["Ingest is shutting down.", "ShopNoIngest"]],
    [withIngest({ waiting_for: { store: "unavailable" } }), ["Ingest is retrying, nothing is lost: store (unavailable).", "ShopIngestWaiting"]],
    [withIngest({ stuck: STUCK }), ["Ingest is stuck at purchases, partition 0, offset 7 (p7) for 1\u00a0min: corrupt.", "ShopRecordStuck"]],
    [withIngest({ gaps: { records: "12" } }), ["Records that the log no longer had when they were to be read: 12.", "ShopRecordsLost"]],
    [
      { ...withIngest({}), orders: ORDERS },
      ["Ingest of events into orders has stopped.", "ShopIngestStopped"],
      ["Dead letters of orders to be replayed or discarded: 4.", "ShopEventDeadLetters"],
      ["The store of orders is unavailable.", "outages"],
      ["Events of orders are not published (unavailable), 3 in the outbox.", "ShopOutboxStuck"],
    ],
  ]) {
    assert.deepEqual(problemsOf(health), problems.map(([text, runbook]) => ({ text, runbook })), JSON.stringify(health));
  }
});

const valueOf = (readings, id) => readings.find((reading) => reading.id === id);

test("readings are in words where there is no number", () => {
  const elsewhere = readingsOf(undefined);
  assert.deepEqual(["lag", "freshness", "phase", "stuck"].map((id) => valueOf(elsewhere, id).value), ["n/a", "n/a", "runs elsewhere", "n/a"]);
  const read = readingsOf({ ...INGEST, lag: "3", freshness_ms: "1500", in_flight: "1", inserted: "9", duplicates: "0", stuck: STUCK, gaps: { records: "12" } }, "users-");
  const values = ["lag", "freshness", "stuck", "gaps", "inserted"].map((id) => valueOf(read, `users-${id}`).value);
  assert.deepEqual(values, ["3", "1\u00a0s", "purchases-0-7", "12", "9"]);
  assert.ok(valueOf(read, "users-stuck").isBad && valueOf(read, "users-gaps").isBad && !valueOf(read, "users-dead-letters").isBad);
  assert.equal(valueOf(readingsOf(INGEST), "lag").value, "unknown");
  assert.deepEqual(portsOf({ parts: { log: false } }).map(({ value, isBad }) => [value, isBad]), [["unavailable", true], ["reachable", false]]);
  assert.deepEqual(portsOf({ parts: { listings: false } }).map(({ value }) => value), ["not read", "unavailable"], "no ingest here");
  assert.deepEqual(entityReadingsOf(ORDERS, "orders-").map(({ id, value, isBad }) => [id, value, isBad]), [["orders-store", "unavailable", true], ["orders-outbox", "3", true]]);
});

test("durations are in their largest unit", () => {
  for (const [value, perSecond, text] of [["1500", 1000, "1 s"], ["7", 1000, "7 ms"], ["0", 1000, "0 ms"], ["3600", 1, "1 h"], [90_000, 1, "1 d"], [Infinity, 1, "unlimited"]]) {
    assert.equal(duration(value, perSecond).replace("\u00a0", " "), text);
  }
});
