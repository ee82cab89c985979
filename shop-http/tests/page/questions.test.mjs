import assert from "node:assert/strict";
import { test } from "node:test";

import { inOrder } from "../../page/questions.js";

/** Questions with answers in the order in which they are given, and what is shown and asked. */
function recorded() {
  const [asked, shown, answers] = [[], [], {}];
  const attempt = async (name, isNewest) => {
    asked.push(name);
    await new Promise((resolve, reject) => (answers[name] = { resolve, reject }));
    if (isNewest()) shown.push(name);
  };
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const answer = (name) => (answers[name].resolve(), settle());
  return { ...inOrder(attempt), asked, shown, answer, answers, settle };
}

test("the newest answer is shown, whenever it comes", async () => {
  const { refresh, asked, shown, answer } = recorded();
  refresh("old");
  refresh("new");
  await answer("new");
  await answer("old");
  assert.deepEqual([asked, shown], [["old", "new"], ["new"]]);
});

test("what the page asks by itself waits for a person's answer", async () => {
  const { ask, refresh, asked, shown, answer } = recorded();
  ask("more");
  refresh("events");
  refresh("later events");
  assert.deepEqual(asked, ["more"]);
  await answer("more");
  await answer("later events");
  assert.deepEqual([asked, shown], [["more", "later events"], ["more", "later events"]]);
});

test("what a person's question replaces is asked again after it", async () => {
  const { ask, refresh, asked, shown, answer } = recorded();
  refresh("events");
  ask("more");
  await answer("events");
  await answer("more");
  await answer("events");
  assert.deepEqual([asked, shown], [["events", "more", "events"], ["more", "events"]]);
});

test("a question that breaks does not hold up the others", async () => {
  const { ask, refresh, shown, answer, answers, settle } = recorded();
  const broken = assert.rejects(ask("more"), /broken/);
  answers.more.reject(new Error("broken"));
  await broken;
  refresh("events");
  await settle();
  await answer("events");
  assert.deepEqual(shown, ["events"]);
});
