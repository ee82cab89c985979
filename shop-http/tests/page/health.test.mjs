import assert from "node:assert/strict";
import { test } from "node:test";

import { duration, isDegraded, problemsOf, readingsOf, rolesOf, waitingOf } from "../../page/health.js";

/** What `/health` says where nothing is wrong. */
const INGEST = { phase: "running", lag: "0", dead_lettered: "0", waiting_for: {} };
const WELL = { status: "healthy", parts: { log: true, store: true, listings: true, ingest: true }, ingest: INGEST, at: Date.parse("2026-11-25T12:00:00Z") };
const withIngest = (members) => ({ ...WELL, ingest: { ...INGEST, ...members } });
const STUCK = { topic: "purchases", partition: "0", offset: "7", id: "p7", age_seconds: "90", error: "corrupt" };
const entity = (members, ingest) => ({ store: true, outbox: "0", events: { ...INGEST, ...ingest }, ...members });
/** With all roles, of which each fails for the store. */
const OUTAGE = {
  status: "degraded",
  parts: { log: true, store: false, listings: false, ingest: true, users: false, orders: false },
  ingest: { ...INGEST, lag: "4", waiting_for: { store: "unavailable" } },
  users: entity({ store: false, outbox: null, outbox_waits_for: "unavailable" }, { waiting_for: { store: "unavailable" } }),
  orders: entity({ store: false, outbox: null, outbox_waits_for: "unavailable" }),
};

test("each cause is one sentence with its runbook", () => {
  for (const [health, ...problems] of [
    [WELL],
    [{ status: "healthy", parts: { listings: true } }],
    // Those since the start are resolved.
    [withIngest({ dead_letters_waiting: "0", dead_lettered: "2" })],
    [OUTAGE, ["The store is unavailable: records wait in the log until it is back.", "ShopIngestWaiting"]],
    [{ ...OUTAGE, parts: { ...OUTAGE.parts, store: true, listings: true }, ingest: INGEST }, ["The store of users and orders is unavailable: records wait in the log until it is back.", "ShopEventsWaiting"]],
    [withIngest({ waiting_for: { store: "denied" } }), ["The store is unavailable (denied): records wait in the log until it is back.", "ShopIngestWaiting"]],
    [
      { ...withIngest({ waiting_for: { source: "unavailable", commit: "unavailable" } }), users: entity({ outbox_waits_for: "unavailable" }, { waiting_for: { source: "unavailable" } }) },
      ["The log fails: reading (unavailable), committing (unavailable). Ingest retries.", "ShopIngestWaiting"],
    ],
    [{ ...WELL, orders: entity({ outbox: "3", outbox_waits_for: "denied" }) }, ["Events of orders are not published (denied): they wait in the outbox.", "ShopOutboxStuck"]],
    [withIngest({ phase: "stopped" }), ["Ingest of purchases has stopped.", "ShopIngestStopped"]],
    [{ ...WELL, orders: entity({}, { phase: "stopped", stopped_because: "too many dead letters" }) }, ["Ingest of events into orders has stopped: too many dead letters.", "ShopIngestStopped"]],
    [withIngest({ phase: "draining" }), ["Ingest of purchases is shutting down.", "ShopNoIngest"]],
    [withIngest({ stuck: STUCK }), ["Ingest of purchases is stuck at purchases-0-7 (p7) for 1\u00a0min: corrupt.", "ShopStoreRejectsRecord"]],
    [withIngest({ stuck: { ...STUCK, detail: "violates check \"price\"" } }), ["Ingest of purchases is stuck at purchases-0-7 (p7) for 1\u00a0min: violates check \"price\".", "ShopStoreRejectsRecord"]],
    [{ ...withIngest({ open_transaction_seconds: "75" }), status: "degraded" }, ["Another producer's transaction has been open for 1\u00a0min: records behind it wait.", "ShopLagStuck"]],
    [{ ...WELL, certificate: { age_seconds: "5", failing: false, not_after: "2026-11-25T11:59:00Z" } }, ["The certificate has expired.", "ShopCertificateExpired"]],
    [{ ...WELL, api_keys: { age_seconds: "5", failing: true } }, ["The api keys cannot be read again: what was read before stays in use.", "ShopReloadFailing"]],
    [{ ...withIngest({ gaps: { records: "12" } }), users: entity({}, { gaps: { records: "1" } }) }, ["Records are lost, 12 of purchases and 1 of users: the log no longer had them when ingest was about to read them.", "ShopRecordsLost"]],
    [{ ...WELL, status: "degraded", files: ["shop.db: its pages are being checked"] }, ["shop.db: its pages are being checked.", "ShopDependencyDown"]],
    [{ ...WELL, status: "degraded", parts: { reader: false }, reasons: { reader: { unread: "nobody reads the topic" } } }, ["reader: nobody reads the topic.", "ShopNoIngest"]],
    [{ ...WELL, status: "degraded", parts: { log: false }, reasons: { log: { writes: "no write succeeded" } } }, ["log: no write succeeded.", "ShopBuysFailing"]],
    // It is not known whether the part works, so it is not called bad.
    [{ ...WELL, reasons: { reader: { unread: "it is not known" } } }],
    [{ ...WELL, status: "degraded" }, ["The service reports that it is degraded.", "ShopDependencyDown"]],
  ]) {
    assert.deepEqual(problemsOf(health).map(({ text, runbook, isBad }) => [text, runbook, isBad]), problems.map((problem) => [...problem, true]), JSON.stringify(health));
  }
});

test("dead letters wait for a decision, and are not bad", () => {
  const waiting = { ...withIngest({ dead_letters_waiting: "2" }), orders: entity({}, { dead_lettered: "1" }) };
  assert.deepEqual(problemsOf(waiting), [{ text: "Dead letters wait for a decision: 2 of purchases and 1 of orders.", action: "Replay or discard them", leadsTo: "dead-letters", runbook: "ShopDeadLettersWaiting", isBad: false }]);
  assert.equal(isDegraded(waiting), false);
  assert.deepEqual([WELL, OUTAGE, { status: "unhealthy", parts: {} }, { status: "ok", parts: { store: false } }].map(isDegraded), [false, true, true, true]);
});

test("refunds that wait for their purchase are shown, and are not bad", () => {
  const waiting = withIngest({ waiting_refunds: { count: "3", oldest: "2026-03-01T09:00:00.250Z" } });
  assert.deepEqual(problemsOf(waiting), [{ text: "3 refunds wait for a purchase that is not in the store, the oldest of 2026-03-01T09:00:00.250Z.", action: "Import the purchases that are missing.", runbook: "ShopRefundsWaiting", isBad: false }]);
  assert.equal(isDegraded(waiting), false);
});

test("readings are in words where there is no number", () => {
  const valueOf = (readings, id) => readings.find((reading) => reading.id === id).value;
  const elsewhere = readingsOf({ name: "purchases" });
  assert.deepEqual(["lag", "freshness", "phase"].map((id) => valueOf(elsewhere, id)), ["n/a", "n/a", "runs elsewhere"]);
  const [, users] = rolesOf({ ...WELL, users: entity({ outbox: null }, { lag: "3", freshness_ms: "1500", inserted: "9" }) });
  assert.deepEqual(["lag", "freshness", "outbox", "inserted"].map((id) => valueOf(readingsOf(users), `users-${id}`)), ["3", "1\u00a0s", "unknown", "9"]);
  assert.deepEqual([rolesOf(WELL), [users], [{ name: "purchases" }]].map(waitingOf), ["nothing waits", "3 records on the way", "the lag is unknown here"]);
});

test("on standby, the lag and the freshness are those of the log", () => {
  const standby = { ...WELL, ingest: { ...INGEST, lag: undefined, phase: "standby" } };
  const shown = (topics) => {
    const roles = rolesOf(standby, topics);
    const readings = readingsOf(roles[0]);
    const values = ["lag", "freshness"].map((id) => readings.find((reading) => reading.id === id).value);
    return [waitingOf(roles), ...values].map((text) => text.replace("\u00a0", " "));
  };
  assert.deepEqual(shown([{ oldestUnread: 0, unread: 0 }]), ["nothing waits", "0", "up to date"]);
  assert.deepEqual(shown([{ oldestUnread: 3.2, unread: 12 }]), ["12 records on the way", "12", "3 s"]);
  assert.deepEqual(shown([{ oldestUnread: 3.2 }]), ["the oldest record on the way is 3 s old", "unknown", "3 s"]);
  assert.deepEqual(shown([{ oldestUnread: 0, unread: 0 }, { oldestUnread: 70, unread: 2 }]), ["the oldest record on the way is 1 min old", "unknown", "1 min"]);
  for (const topics of [undefined, [], [{ topic: "a" }]]) assert.deepEqual(shown(topics), ["the lag is unknown here", "unknown", "no batch yet"]);
  // Who ingests knows the lag of this moment.
  assert.equal(waitingOf(rolesOf(WELL, [{ oldestUnread: 3, unread: 12 }])), "nothing waits");
});

test("durations are in their largest unit", () => {
  for (const [value, perSecond, text] of [["1500", 1000, "1 s"], ["7", 1000, "7 ms"], ["0", 1000, "0 ms"], ["3600", 1, "1 h"], [90_000, 1, "1 d"], [Infinity, 1, "unlimited"]]) {
    assert.equal(duration(value, perSecond).replace("\u00a0", " "), text);
  }
});
