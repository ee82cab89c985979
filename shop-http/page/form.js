// A form that records something. Each thing has one key, however often it is sent: a double click, a retry or a reload
// does not create a second one.

import { Refusal, freshKey } from "./api.js";
import { byId, say, sentence } from "./elements.js";

const ATTEMPTS = 3;

export class RecordingForm {
  #id;
  #thing;
  #fields;
  #send;
  #onRecorded;
  #onFailure;
  #attempt;

  /**
   * Makes the form `id` work, with its button and what it says. It records a `thing`, which has a member for each of the `fields`: `{id, member, problemOf}`, where `id` is
   * that of the input, and `problemOf` returns the error of a text before it is sent. `send` takes the thing and the
   * key; `onRecorded` is called with each recorded thing, and returns the message. `onFailure` is called when the service
   * could not record one.
   */
  constructor(id, { thing, fields, send, onRecorded, onFailure }) {
    this.#id = id;
    this.#thing = thing;
    this.#fields = fields;
    this.#send = send;
    this.#onRecorded = onRecorded;
    this.#onFailure = onFailure;
    this.#attempt = new Attempt(thing);
    this.#restoreAttempt();
    this.#listen();
  }

  get #name() {
    return byId(`${this.#id}-button`).textContent;
  }

  get #again() {
    return `It is not known whether this ${this.#thing} was recorded. Press ${this.#name} again: it is recorded once.`;
  }

  #restoreAttempt() {
    const kept = this.#attempt.kept();
    if (!kept) return;
    for (const { id, member } of this.#fields) byId(id).value = kept[this.#thing][member];
    this.#say({ problem: this.#again });
  }

  #listen() {
    const [form, button] = [byId(this.#id), byId(`${this.#id}-button`)];
    let isSending = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (isSending) return;
      isSending = true;
      button.setAttribute("aria-disabled", "true");
      try {
        await this.#submit();
      } finally {
        isSending = false;
        button.removeAttribute("aria-disabled");
      }
    });
    // The second click of a double click, and a key that is held down, mean nothing more.
    button.addEventListener("click", (event) => event.detail > 1 && event.preventDefault());
    form.addEventListener("keydown", (event) => event.key === "Enter" && event.repeat && event.preventDefault());
    for (const { id } of this.#fields) byId(id).addEventListener("input", () => mark(id, ""));
  }

  /** Shows the result, the progress, or a problem. */
  #say({ answer = "", progress = "", problem = "" }) {
    byId(`${this.#id}-answer`).classList.toggle("progress", progress !== "");
    say(byId(`${this.#id}-answer`), answer || progress);
    say(byId(`${this.#id}-problem`), problem);
  }

  async #submit() {
    const content = Object.fromEntries(this.#fields.map(({ id, member }) => [member, byId(id).value.trim()]));
    this.#say({});
    for (const { id } of this.#fields) mark(id, "");
    const problems = this.#fields.map(({ member, problemOf }) => ({ member, text: problemOf?.(content[member]) ?? "" }));
    if (this.#mark(problems)) return;
    this.#say({ progress: "Sending…" });
    let taken;
    try {
      taken = await this.#sendUntilAnswered(content, this.#attempt.at(content));
    } catch (refusal) {
      if (!(refusal instanceof Refusal)) throw refusal;
      this.#explain(refusal);
      return;
    }
    this.#attempt.forget();
    this.#say({ answer: this.#onRecorded(taken) });
  }

  /** Notes the problems of fields, the first of which gets the focus; returns whether there are any. */
  #mark(problems) {
    const invalid = problems.filter(({ text }) => text !== "");
    const of = (field) => invalid.find(({ member }) => member === field.member);
    const wrong = this.#fields.filter(of);
    for (const field of wrong) mark(field.id, of(field).text);
    if (wrong.length > 0) byId(wrong[0].id).focus();
    return wrong.length > 0;
  }

  /** Sends it until there is a response, a few times at most. */
  async #sendUntilAnswered(content, key) {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#send(content, key);
      } catch (refusal) {
        if (refusal.mayPass) this.#onFailure?.();
        if (!refusal.mayPass || attempt === ATTEMPTS) throw refusal;
        // What was answered is shown at once; without an answer the outcome is still open.
        const isAnswered = refusal.status !== 0;
        this.#say(isAnswered ? { problem: `${sentence(refusal.message)} Trying again…` } : { progress: "No answer yet. Trying again…" });
        const seconds = Math.min(refusal.retryAfter ?? attempt, 5);
        await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      }
    }
  }

  #explain(refusal) {
    this.#say({});
    const text = sentence(refusal.message);
    if (!refusal.mayPass) {
      // What was refused for good was not recorded, under no key.
      this.#attempt.forget();
      const problems = refusal.problems.map(({ member, text }) => ({ member, text: sentence(text) }));
      if (!this.#mark(problems)) this.#say({ problem: text });
    } else if (refusal.outcome === "not_sent") {
      this.#say({ problem: `${text} Nothing was recorded. Press ${this.#name} to try again.` });
    } else {
      this.#say({ problem: `${text} ${this.#again}` });
    }
  }
}

/** Notes a problem of a field, or that there is none. */
export function mark(id, problem) {
  say(byId(`${id}-problem`), problem);
  if (problem) byId(id).setAttribute("aria-invalid", "true");
  else byId(id).removeAttribute("aria-invalid");
}

/** An attempt with an unknown outcome, stored so that a reload keeps its key. */
class Attempt {
  #thing;
  #name;
  // Where the browser keeps nothing, the attempt lasts as long as the page.
  #remembered = null;

  constructor(thing) {
    this.#thing = thing;
    this.#name = `${thing}-in-doubt`;
  }

  /** The key for this content: that of the attempt that is in doubt, if it is of the same. */
  at(content) {
    const kept = this.kept();
    const isSame = kept && Object.entries(content).every(([member, text]) => kept[this.#thing][member] === text);
    const attempt = isSame ? kept : { [this.#thing]: content, key: freshKey() };
    this.#remembered = attempt;
    try {
      sessionStorage.setItem(this.#name, JSON.stringify(attempt));
    } catch {
      // It is remembered.
    }
    return attempt.key;
  }

  kept() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#name)) ?? this.#remembered;
    } catch {
      return this.#remembered;
    }
  }

  forget() {
    this.#remembered = null;
    try {
      sessionStorage.removeItem(this.#name);
    } catch {
      // Nothing was kept.
    }
  }
}
