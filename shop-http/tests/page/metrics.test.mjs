import assert from "node:assert/strict";
import { test } from "node:test";

import { samplesOf, topicsOf } from "../../page/metrics.js";

const TEXT = `# HELP shop_ingest_oldest_unread_seconds How long
# TYPE shop_ingest_oldest_unread_seconds gauge
shop_ingest_oldest_unread_seconds{topic="purchases"} 12.5
shop_log_retention_seconds{topic="purchases"} inf
shop_log_slowest_group_records{topic="purchases"} 4

shop_dead_letters_waiting{topic="purchases",reason="conflict"} 2
shop_dead_letters_waiting{topic="purchases",reason="gap"} 1
shop_dead_letters_waiting{topic="a \\"b\\"",reason="gap"} 0
process_cpu_seconds_total 2
not a sample
`;

test("samples have names, labels and values", () => {
  const samples = samplesOf(TEXT);
  assert.equal(samples.length, 7);
  assert.deepEqual(samples[0], { name: "shop_ingest_oldest_unread_seconds", labels: { topic: "purchases" }, value: 12.5 });
  assert.deepEqual(samples[5].labels, { topic: 'a "b"', reason: "gap" });
});

test("topics have what is known of them", () => {
  assert.deepEqual(topicsOf(samplesOf(TEXT)), [
    { topic: 'a "b"', deadLetters: 0, byReason: { gap: 0 } },
    { topic: "purchases", oldestUnread: 12.5, unread: 4, retention: Infinity, deadLetters: 3, byReason: { conflict: 2, gap: 1 } },
  ]);
  assert.deepEqual(topicsOf([]), []);
});
