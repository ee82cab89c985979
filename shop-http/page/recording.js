// A form that records something once, with what it says about that.

import { Refusal } from "./api.js";
import { Attempt } from "./attempt.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { sentence } from "./words.js";

const ATTEMPTS = 3;
const SILENT = { answer: "", progress: "", problem: "", problems: {}, held: undefined };

/** An input with its label and its problem. `member` is its name, the other properties are attributes. */
export function Field({ id, member, label, problem = "", ...attributes }) {
  return html`<div class="field">
    <label for=${id}>${label}</label>
    <input id=${id} name=${member} autocomplete="off" aria-describedby="${id}-problem" aria-invalid=${problem ? "true" : undefined} ...${attributes} />
    <p class="problem" id="${id}-problem">${problem}</p>
  </div>`;
}

/**
 * A form that records a `thing` with a member for each of the `fields`: `{id, member, label, read, stays}`, where `read`
 * returns the `{value}` of a text or its `{problem}`; what it `stays` is not cleared. `fixed` are further members. `send`
 * takes the thing and a key; `onRecorded` is called with each recorded thing, and returns the message; `onFailure` when
 * the service could not record one. `hold` says how a thing is held before it is sent: `{text, now, undo, time}`, where
 * `now` and `undo` are the names of buttons.
 */
export function RecordingForm({ id, fields, button, ...options }) {
  const form = useRef(null);
  const isSubmitting = useRef(false);
  const { said, record, end, fix } = useRecording(form, { fields, button, ...options });
  const submit = async (event) => {
    event.preventDefault();
    if (isSubmitting.current) return;
    isSubmitting.current = true;
    await record().finally(() => (isSubmitting.current = false));
  };
  // The second click of a double click, and a key that is held down, mean nothing more.
  const once = (event) => (event.detail > 1 || event.repeat) && (event.type === "click" || event.key === "Enter") && event.preventDefault();
  const isBusy = said.progress !== "" || said.problem.endsWith("Trying again…");
  return html`<form id=${id} ref=${form} class="recording" novalidate onSubmit=${submit} onKeyDown=${once} onInput=${({ target }) => fix(target.name)}>
    ${fields.map(({ read, stays, ...field }) => html`<${Field} ...${field} problem=${said.problems[field.member]} />`)}
    <button type="submit" id="${id}-button" aria-disabled=${isBusy ? "true" : undefined} onClick=${once}>${button}</button>
    <div class="said">
      <p class="answer ${(said.held || said.progress) && "progress"}" id="${id}-answer" role="status">${said.held?.text || said.answer || said.progress}</p>
      ${said.held && html`<p class="held"><button type="button" class="quiet" id="${id}-undo" onClick=${() => end(false)}>${said.held.undo}</button> <button type="button" class="quiet" id="${id}-now" onClick=${() => end(true)}>${said.held.now}</button></p>`}
      <p class="answer bad" id="${id}-problem" role="alert">${said.problem}</p>
    </div>
  </form>`;
}

/** What such a form says, what it holds, and what its buttons do. */
function useRecording(form, { thing, fields, fixed = {}, button, send, hold, onRecorded, onFailure }) {
  const attempt = useRef(null);
  attempt.current ??= new Attempt(thing);
  const again = `It is not known whether this ${thing} was recorded. Press ${button} again: it is recorded once.`;
  const [said, set] = useState(() => ({ ...SILENT, problem: attempt.current.kept() ? again : "" }));
  const say = (said) => set({ ...SILENT, ...said });
  /** What is held, and the promise of what is held or sent. */
  const [held, latest] = [useRef(null), useRef(null)];
  const end = (isLet) => held.current?.end(isLet);
  /** What has a time is sent now, what waits for a press is not. */
  const settle = () => end(Boolean(held.current?.time) || undefined);
  // `elements.item` is a method.
  const fill = (texts) => {
    for (const { member } of form.current ? fields : []) form.current.elements.namedItem(member).value = texts[member] ?? "";
  };
  useEffect(() => {
    const kept = attempt.current.kept();
    // The page was left before there was an answer.
    if (kept?.isHeld) latest.current = deliver(kept.content, kept.content).finally(() => (latest.current = null));
    else if (kept) fill(kept.content);
    window.addEventListener("pagehide", settle);
    return () => {
      window.removeEventListener("pagehide", settle);
      settle();
    };
  }, []);

  /** Notes the problems of fields, the first of which gets the focus; returns whether there are any. */
  const mark = (problems) => {
    const wrong = fields.filter(({ member }) => problems[member]);
    if (wrong.length === 0) return false;
    say({ problems, held: held.current });
    form.current?.elements.namedItem(wrong[0].member).focus();
    return true;
  };
  const explain = (refusal) => {
    const text = sentence(refusal.message);
    if (!refusal.mayPass) {
      // What was refused for good was not recorded, under no key.
      attempt.current.forget();
      const problems = Object.fromEntries(refusal.problems.map(({ member, text }) => [member, sentence(text)]));
      if (!mark(problems)) say({ problem: text });
    } else if (refusal.outcome === "not_sent") {
      say({ problem: `${text} Nothing was recorded. Press ${button} to try again.` });
    } else {
      say({ problem: `${text} ${again}` });
    }
  };
  /** Sends `content`; returns whether it was recorded. `texts` are put back into the fields if it was held and was not. */
  const deliver = async (content, texts) => {
    // The buttons of what was held are gone.
    if (form.current?.querySelector(".held")?.contains(document.activeElement)) form.current.querySelector("[type=submit]").focus();
    say({ progress: "Sending…" });
    try {
      const taken = await sendUntilAnswered(() => send(content, attempt.current.at(content, Boolean(texts))), onFailure, say);
      attempt.current.forget();
      for (const { member, stays } of texts ? [] : fields) if (!stays) form.current.elements.namedItem(member).value = "";
      say({ answer: onRecorded(taken) });
      return true;
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      attempt.current.at(content);
      if (texts) fill(texts);
      explain(refusal);
      return false;
    }
  };
  /** The same after it was held, if it is not undone. */
  const deliverHeld = async (content, texts, how) => {
    if (how.time) attempt.current.at(content, true);
    fill({});
    say({ held: how });
    const isLet = await new Promise((resolve) => {
      held.current = { ...how, end: resolve };
      if (how.time) setTimeout(resolve, how.time, true);
    });
    held.current = null;
    if (isLet) return deliver(content, texts);
    if (isLet === false) {
      attempt.current.forget();
      fill(texts);
      form.current.elements.namedItem(fields[0].member).focus();
      say({ answer: "Nothing was recorded." });
    }
  };
  const record = async () => {
    const texts = Object.fromEntries(fields.map(({ member }) => [member, form.current.elements.namedItem(member).value.trim()]));
    // Pressed once more, when the fields are already those of the next thing.
    if (latest.current && Object.values(texts).join("") === "") return;
    const read = fields.map(({ member, read }) => [member, read?.(texts[member]) ?? { value: texts[member] }]);
    if (mark(Object.fromEntries(read.map(([member, { problem }]) => [member, problem])))) return;
    const content = { ...fixed, ...Object.fromEntries(read.map(([member, { value }]) => [member, value])) };
    settle();
    if ((await latest.current) === false) return;
    // What may be recorded already is not held: it could not be undone.
    const how = attempt.current.isOf(content) ? undefined : hold?.(content);
    if (!how) return deliver(content);
    latest.current = deliverHeld(content, texts, how).finally(() => (latest.current = null));
  };
  const fix = (member) => said.problems[member] && say({ ...said, problems: { ...said.problems, [member]: undefined } });
  return { said, record, end, fix };
}

/** Calls `send` until there is an answer, a few times at most, and says so meanwhile. */
async function sendUntilAnswered(send, onFailure, say) {
  for (let count = 1; ; count++) {
    try {
      return await send();
    } catch (refusal) {
      if (refusal.mayPass) onFailure?.();
      if (!refusal.mayPass || count === ATTEMPTS) throw refusal;
      // What was answered is shown at once; without an answer the outcome is still open.
      say(refusal.status === 0 ? { progress: "No answer yet. Trying again…" } : { problem: `${sentence(refusal.message)} Trying again…` });
      await new Promise((resolve) => setTimeout(resolve, Math.min(refusal.retryAfter ?? count, 5) * 1000));
    }
  }
}
