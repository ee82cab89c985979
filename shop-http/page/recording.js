// A form that records something once, with what it says about that.

import { Refusal } from "./api.js";
import { Attempt } from "./attempt.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { sentence } from "./words.js";

const ATTEMPTS = 3;
const SILENT = { answer: "", progress: "", problem: "", problems: {} };

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
 * the service could not record one.
 */
export function RecordingForm({ id, thing, fields, fixed = {}, button, send, onRecorded, onFailure }) {
  const attempt = useRef(null);
  attempt.current ??= new Attempt(thing);
  const form = useRef(null);
  const isSending = useRef(false);
  const again = `It is not known whether this ${thing} was recorded. Press ${button} again: it is recorded once.`;
  const [said, say] = useState(() => (attempt.current.kept() ? { ...SILENT, problem: again } : SILENT));
  useEffect(() => {
    const kept = attempt.current.kept();
    for (const { member } of kept ? fields : []) form.current.elements[member].value = kept.content[member] ?? "";
  }, []);

  /** Notes the problems of fields, the first of which gets the focus; returns whether there are any. */
  const mark = (problems) => {
    const wrong = fields.filter(({ member }) => problems[member]);
    if (wrong.length === 0) return false;
    say({ ...SILENT, problems });
    form.current.elements[wrong[0].member].focus();
    return true;
  };
  const explain = (refusal) => {
    const text = sentence(refusal.message);
    if (!refusal.mayPass) {
      // What was refused for good was not recorded, under no key.
      attempt.current.forget();
      const problems = Object.fromEntries(refusal.problems.map(({ member, text }) => [member, sentence(text)]));
      if (!mark(problems)) say({ ...SILENT, problem: text });
    } else if (refusal.outcome === "not_sent") {
      say({ ...SILENT, problem: `${text} Nothing was recorded. Press ${button} to try again.` });
    } else {
      say({ ...SILENT, problem: `${text} ${again}` });
    }
  };
  /** Sends it until there is a response, a few times at most. */
  const sendUntilAnswered = async (content, key) => {
    for (let count = 1; ; count++) {
      try {
        return await send(content, key);
      } catch (refusal) {
        if (refusal.mayPass) onFailure?.();
        if (!refusal.mayPass || count === ATTEMPTS) throw refusal;
        // What was answered is shown at once; without an answer the outcome is still open.
        say({ ...SILENT, ...(refusal.status === 0 ? { progress: "No answer yet. Trying again…" } : { problem: `${sentence(refusal.message)} Trying again…` }) });
        await new Promise((resolve) => setTimeout(resolve, Math.min(refusal.retryAfter ?? count, 5) * 1000));
      }
    }
  };
  const record = async () => {
    const read = fields.map(({ member, read }) => {
      const text = form.current.elements[member].value.trim();
      return [member, read?.(text) ?? { value: text }];
    });
    if (mark(Object.fromEntries(read.map(([member, { problem }]) => [member, problem])))) return;
    const content = { ...fixed, ...Object.fromEntries(read.map(([member, { value }]) => [member, value])) };
    say({ ...SILENT, progress: "Sending…" });
    try {
      const taken = await sendUntilAnswered(content, attempt.current.at(content));
      attempt.current.forget();
      for (const { member, stays } of fields) if (!stays) form.current.elements[member].value = "";
      say({ ...SILENT, answer: onRecorded(taken) });
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      explain(refusal);
    }
  };
  const submit = async (event) => {
    event.preventDefault();
    if (isSending.current) return;
    isSending.current = true;
    try {
      await record();
    } finally {
      isSending.current = false;
    }
  };
  // The second click of a double click, and a key that is held down, mean nothing more.
  const once = (event) => (event.detail > 1 || event.repeat) && (event.type === "click" || event.key === "Enter") && event.preventDefault();
  const isBusy = said.progress !== "" || said.problem.endsWith("Trying again…");
  const fix = ({ target }) => said.problems[target.name] && say({ ...said, problems: { ...said.problems, [target.name]: undefined } });
  return html`<form id=${id} ref=${form} class="recording" novalidate onSubmit=${submit} onKeyDown=${once} onInput=${fix}>
    ${fields.map(({ read, stays, ...field }) => html`<${Field} ...${field} problem=${said.problems[field.member]} />`)}
    <button type="submit" id="${id}-button" aria-disabled=${isBusy ? "true" : undefined} onClick=${once}>${button}</button>
    <p class="answer ${said.progress && "progress"}" id="${id}-answer" role="status">${said.answer || said.progress}</p>
    <p class="answer bad" id="${id}-problem" role="alert">${said.problem}</p>
  </form>`;
}
