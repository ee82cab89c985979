import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { pathname: "/", hash: "" };
const { eventParser, follow } = await import("../../page/events.js");

const EVENT = (id, data = `{"id":"${id}"}`) => `id: c${id}\nevent: purchase\ndata: ${data}\n\n`;
const answer = (status, texts = []) => ({
  status, ok: status === 200,
  body: new ReadableStream({
    start(controller) {
      for (const text of texts) controller.enqueue(new TextEncoder().encode(text));
      controller.close();
    },
  }),
});

test("events are read however their text is divided", () => {
  const text = `: from here on\nid: c0\n\n${EVENT(1)}: still there\n\nid: c2\r\ndata: a\r\ndata: b\r\n\r\n${EVENT(3)}`;
  const all = [{ id: "c0" }, { id: "c1", data: '{"id":"1"}' }, { id: "c2", data: "a\nb" }, { id: "c3", data: '{"id":"3"}' }];
  for (const length of [1, 2, 7, text.length]) {
    const parse = eventParser();
    const parts = Array.from({ length: Math.ceil(text.length / length) }, (_, at) => text.slice(at * length, (at + 1) * length));
    assert.deepEqual(parts.flatMap(parse), all, String(length));
  }
  assert.deepEqual(eventParser()("id: c1\ndata: x\n"), [], "not complete");
});

/** What is notified, and asked for, while these are the answers; the last one ends it. */
async function followed(answers) {
  const controller = new AbortController();
  const [notified, ids, pauses] = [[], [], []];
  const open = async (id) => {
    ids.push(id);
    const next = answers.shift();
    if (answers.length === 0) controller.abort();
    if (next === null) throw new TypeError("lost");
    return next;
  };
  const hasEvents = await follow({ open, notify: (purchase) => notified.push(purchase?.price ?? null), position: {}, signal: controller.signal, pause: async (time) => pauses.push(time) });
  return { notified, ids, pauses, hasEvents };
}

test("a stream is resumed behind its last event, after pauses that grow", async () => {
  const price = (id, price) => EVENT(id, `{"price":${price}}`);
  const { notified, ids, pauses, hasEvents } = await followed([answer(200, [price(1, "0.10"), price(2, "1e2")]), null, answer(503), null, answer(200, [price(3, "7")]), answer(200)]);
  assert.deepEqual(notified, [null, "0.10", "1e2", null, null, null, null, "7", null], "prices are exact; while nothing is followed, some may be missed");
  assert.deepEqual(ids, [undefined, "c2", "c2", "c2", "c2", "c3"]);
  assert.deepEqual(pauses, [1000, 2000, 5000, 15000, 1000]);
  assert.equal(hasEvents, true);
});

test("behind an event that the service no longer has, some may have been missed", async () => {
  const { notified, ids } = await followed([answer(200, [EVENT(1, '{"price":1}')]), answer(410), answer(200)]);
  assert.deepEqual([notified, ids], [[null, "1", null, null, null], [undefined, "c1", undefined]]);
});

test("a service without events is not asked again", async () => {
  for (const status of [403, 404, 501]) {
    const { notified, ids, hasEvents } = await followed([answer(status), answer(200), answer(200)]);
    assert.deepEqual([notified, ids, hasEvents], [[], [undefined], false], String(status));
  }
});
