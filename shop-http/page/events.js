// Purchases as they become visible: a stream of server-sent events. The access key is a header, which `EventSource`
// cannot send.

import { openEvents } from "./api.js";
import { parseExact } from "./exact.js";
import { useEffect, useRef } from "./preact.js";

/** The pauses before a stream is opened again, in milliseconds; the last one is repeated. */
const PAUSES = [1_000, 2_000, 5_000, 15_000, 30_000];
/** The service writes a comment every 15 s: after this silence the connection is taken for lost. */
const SILENCE = 40_000;
/** How long purchases are gathered before the list is updated, in milliseconds. */
const GATHERING = 200;
/** Answers of a service that has no events, or none for this reader. */
const WITHOUT = [400, 401, 403, 404, 405, 406, 422, 501];

/** A function that takes the parts of a text in turn, and returns what each completes: `{id, data}`, either of which may be missing. */
export function eventParser() {
  let [rest, event] = ["", {}];
  return (part) => {
    const lines = (rest + part).split("\n");
    rest = lines.pop();
    const events = [];
    for (const line of lines.map((line) => line.replace(/\r$/, ""))) {
      const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (field === "data") event.data = event.data === undefined ? value : `${event.data}\n${value}`;
      else if (field === "id") event.id = value;
      if (line !== "") continue;
      if (event.data !== undefined || event.id !== undefined) events.push(event);
      event = {};
    }
    return events;
  };
}

/**
 * Follows a stream that `open` opens behind an ID, again and again until `signal`: `notify` gets each purchase, or nothing
 * where some may have been missed. `position` has the `id` of the last one. Returns whether there are events at all.
 */
export async function follow({ open, notify, position, signal, pause = paused }) {
  for (let failures = 0; !signal.aborted; failures++) {
    let status = 0;
    try {
      const answer = await open(position.id, signal);
      status = answer.status;
      if (answer.ok && position.id === undefined) notify();
      const parse = eventParser();
      for await (const text of answer.ok ? textsOf(answer.body) : []) {
        for (const { id, data } of parse(text)) {
          position.id = id ?? position.id;
          if (data === undefined) continue;
          failures = 0;
          notify(parseExact(data));
        }
      }
    } catch {
      // The connection is lost.
    }
    if (WITHOUT.includes(status)) return false;
    if (status === 410) position.id = undefined;
    if (signal.aborted) break;
    // Nothing is followed now.
    notify();
    await pause(PAUSES[Math.min(failures, PAUSES.length - 1)], signal);
  }
  return true;
}

async function* textsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let timer;
  try {
    for (;;) {
      const silence = new Promise((_, reject) => (timer = setTimeout(reject, SILENCE)));
      const { value, done } = await Promise.race([reader.read(), silence]);
      clearTimeout(timer);
      if (done) return;
      yield value;
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

function paused(time, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, time);
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Follows the purchases of `whose` while the page is visible, if `isOn`. `notify` gets those that have become
 * visible, or nothing where some may have been missed; without events, that is when the page becomes visible.
 */
export function useEvents(whose, isOn, notify) {
  const now = useRef(notify);
  now.current = notify;
  useEffect(() => {
    const [position, arrived] = [{}, []];
    let [hasEvents, controller, timer] = [true, undefined, undefined];
    const gather = (purchase) => {
      arrived.push(purchase);
      timer ??= setTimeout(() => {
        timer = undefined;
        const all = arrived.splice(0);
        now.current(all.includes(undefined) ? undefined : all);
      }, GATHERING);
    };
    const stop = () => {
      controller?.abort();
      controller = undefined;
    };
    const start = async () => {
      controller = new AbortController();
      const { signal } = controller;
      const open = (id) => openEvents(whose, id, signal);
      hasEvents = await follow({ open, notify: (purchase) => signal.aborted || gather(purchase), position, signal });
    };
    const look = () => {
      if (document.hidden) stop();
      else if (!hasEvents) gather();
      else if (controller === undefined) start();
    };
    if (!isOn) return undefined;
    look();
    document.addEventListener("visibilitychange", look);
    return () => {
      document.removeEventListener("visibilitychange", look);
      clearTimeout(timer);
      stop();
    };
  }, [JSON.stringify(whose), isOn]);
}
