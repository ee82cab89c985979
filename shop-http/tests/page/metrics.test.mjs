import assert from "node:assert/strict";
import { test } from "node:test";

import { pointsOf, withSample } from "../../page/history.js";
import { samplesOf, topicsOf } from "../../page/metrics.js";

const TEXT = `# HELP shop_ingest_oldest_unread_seconds How long
# TYPE shop_ingest_oldest_unread_seconds gauge
shop_ingest_oldest_unread_seconds{topic="purchases"} 12.5
shop_log_retention_seconds{topic="purchases"} inf

shop_dead_letters_waiting{topic="purchases",reason="conflict"} 2
shop_dead_letters_waiting{topic="purchases",reason="gap"} 1
shop_dead_letters_waiting{topic="a \\"b\\"",reason="gap"} 0
process_cpu_seconds_total 2
not a sample
`;

test("samples have names, labels and values", () => {
  const samples = samplesOf(TEXT);
  assert.equal(samples.length, 6);
  assert.deepEqual(samples[0], { name: "shop_ingest_oldest_unread_seconds", labels: { topic: "purchases" }, value: 12.5 });
  assert.deepEqual(samples[4].labels, { topic: 'a "b"', reason: "gap" });
});

test("topics have what is known of them", () => {
  assert.deepEqual(topicsOf(samplesOf(TEXT)), [
    { topic: 'a "b"', deadLetters: 0, byReason: { gap: 0 } },
    { topic: "purchases", oldestUnread: 12.5, retention: Infinity, deadLetters: 3, byReason: { conflict: 2, gap: 1 } },
  ]);
  assert.deepEqual(topicsOf([]), []);
});

test("samples of an hour are kept, one in ten seconds", () => {
  let samples = [];
  for (let at = 0; at <= 2 * 3_600_000; at += 2000) samples = withSample(samples, { at, lag: at });
  assert.equal(samples.length, 360);
  assert.deepEqual([samples[0].at, samples.at(-1).at], [3_610_000, 7_200_000]);
});

test("a line is interrupted where a value is unknown", () => {
  const samples = [{ at: 0, lag: 0 }, { at: 900_000, lag: 4 }, { at: 1_800_000 }, { at: 3_600_000, lag: 2 }];
  const { most, lines } = pointsOf(samples, "lag", { width: 100, height: 40, now: 3_600_000 });
  assert.deepEqual([most, lines], [4, ["0.0,40.0 25.0,0.0", "100.0,20.0"]]);
  assert.deepEqual(pointsOf([], "lag", { width: 100, height: 40, now: 0 }).lines, []);
});
