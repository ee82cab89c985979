// For operators: replays or discards dead letters, or parks stuck records. A dry run says what would be done, which is confirmed.

import { may } from "./access.js";
import { Refusal, resolve } from "./api.js";
import { byId } from "./elements.js";
import { grouped } from "./exact.js";
import { Followed } from "./following.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { counted, sentence } from "./words.js";

/** The most that the service resolves in a request. */
const MAX_POSITIONS = 1000;
const ACTIONS = { replay: { verb: "Replay", done: "replayed" }, discard: { verb: "Discard", done: "discarded", look: "danger", asksWhy: true }, park: { verb: "Park", done: "parked", asksWhy: true, what: "record" } };
/** The maximum number of characters of a reason. */
const MAX_REASON = 200;
/** The status of what would be a dead letter again. */
const AGAIN = "dead_letter";
const IDLE = { is: "idle" };

/**
 * `letters` are the dead letters; `onResolved` is called when some may be resolved. `subject` says how many are selected:
 * then it stays in sight, at the end of the window. `hows` are the actions.
 */
export function Resolve({ id, letters, subject, hows = ["replay", "discard"], onResolved }) {
  const [state, set] = useState(IDLE);
  const [bar, panel] = [useRef(null), useRef(null)];
  const chosen = letters.map(({ position }) => position).join();
  const isShown = ["planned", "done", "failed"].includes(state.is);
  const isSending = state.is === "sending";
  // What was planned for others is not confirmed.
  useEffect(() => set((state) => (state.is === "planned" ? IDLE : state)), [chosen]);
  useEffect(() => void (state !== IDLE && (byId(`${id}-${state.is === "idle" ? state.how : "outcome"}`) ?? panel.current).focus()), [state]);
  // What has the focus is not below the bar.
  useLayoutEffect(() => {
    if (!subject) return undefined;
    document.documentElement.style.scrollPaddingBottom = `${bar.current.offsetHeight}px`;
    return () => (document.documentElement.style.scrollPaddingBottom = "");
  });
  const run = async (how, letters, isDryRun, reason) => {
    set({ is: "sending" });
    try {
      const answer = await resolve(how, [...new Set(letters.map(({ position }) => position))], isDryRun, reason);
      set({ is: isDryRun ? "planned" : "done", how, letters, ...answer });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const outcome = isDryRun ? "Nothing was changed." : error.mayPass ? "It is not known what was done." : "";
      set({ is: "failed", how, text: `${sentence(error.message)} ${outcome}` });
    }
    if (!isDryRun) onResolved();
  };
  const leave = () => set({ is: "idle", how: state.how });
  const button = (how) => html`<button type="button" class="quiet ${ACTIONS[how].look}" id="${id}-${how}" aria-disabled=${isSending ? "true" : undefined} onClick=${() => isSending || run(how, letters, true)}>${ACTIONS[how].verb}…</button>`;
  const statusOf = new Map(state.results?.map(({ position, status }) => [position, status]));
  const those = (...statuses) => state.letters.filter(({ position }) => statuses.includes(statusOf.get(position)));
  return html`<div class=${subject && (letters.length > 0 || isShown) ? "dock" : undefined} ref=${bar}>
    ${letters.length > 0 && state.is !== "planned" && html`<div class="actions" role="group" aria-label="What is done with them">
      ${subject && html`<span role="status">${subject}</span>`}
      ${letters.length > MAX_POSITIONS ? html`<span class="problem">At most ${grouped(String(MAX_POSITIONS))} are resolved at once.</span>` : hows.map(button)}
    </div>`}
    <div class=${isShown && "outcome"} id="${id}-outcome" tabindex="-1" ref=${panel} role="group" aria-label="Outcome">
      ${state.is === "planned" && html`<${Plan} id=${id} ...${state} letters=${those(ACTIONS[state.how].done)} all=${those(ACTIONS[state.how].done, AGAIN)} onConfirmed=${(letters, reason) => run(state.how, letters, false, reason)} onCancelled=${leave} />`}
      ${state.is === "done" && html`<p>${summaryOf(state.results)}</p>
        ${state.how === "replay" && html`<${Followed} key=${state.at} id=${id} letters=${those("replayed")} since=${state.at} />`}
        <${Results} results=${state.results} />`}
      ${state.is === "failed" && html`<p class="problem" role="alert">${state.text}</p>`}
      ${["done", "failed"].includes(state.is) && html`<div class="actions"><button type="button" class="quiet" id="${id}-close" onClick=${leave}>Close</button></div>`}
    </div>
  </div>`;
}

/** What would be done, to be confirmed; a discard with its reason. `all` are `letters` and those that would come back. */
function Plan({ id, how, letters, all, results, onConfirmed, onCancelled }) {
  const [problem, setProblem] = useState("");
  const { verb, look, asksWhy, what = "dead letter" } = ACTIONS[how];
  const confirm = (event) => {
    event.preventDefault();
    const field = byId(`${id}-reason`);
    if (field?.value.trim() !== "") return onConfirmed(letters, field?.value.trim());
    setProblem("Enter a reason.");
    field.focus();
  };
  const summary = html`<p>${summaryOf(results, "would be ")}</p><${Results} results=${results} would="would be " />`;
  const cancel = html`<button type="button" class="quiet" id="${id}-cancel" onClick=${onCancelled}>Cancel</button>`;
  // Who observes the service sees the plan only.
  if (!may("operate")) return html`${summary}<p>This needs an access key with the scope operate.</p><div class="actions">${cancel}</div>`;
  return html`${summary}
    <form noValidate onSubmit=${confirm}>
      ${asksWhy && letters.length > 0 && html`<div class="why">
        <label for="${id}-reason">Reason, for the audit log</label>
        <input id="${id}-reason" maxlength=${MAX_REASON} required autocomplete="off" aria-invalid=${problem ? "true" : undefined} aria-describedby="${id}-reason-problem" />
        <p class="problem" id="${id}-reason-problem">${problem}</p>
      </div>`}
      <div class="actions">
        ${letters.length > 0 && html`<button type="submit" class=${look} id="${id}-confirm">${verb} ${counted(letters.length, what)}</button>`}
        ${all.length > letters.length && html`<button type="button" class="quiet" id="${id}-anyway" onClick=${() => onConfirmed(all)}>${verb} ${letters.length > 0 ? `all ${grouped(String(all.length))}` : counted(all.length, "dead letter")} anyway</button>`}
        ${cancel}
      </div>
    </form>`;
}

function Results({ results, would = "" }) {
  return html`<ul class="results" tabindex="0" aria-label="Each of them">${results.map(({ position, status, detail }) => html`<li>${position}: ${inWords(status, would)}${detail && html` <small>${detail}</small>`}</li>`)}</ul>`;
}

const DONE = Object.values(ACTIONS).map(({ done }) => done);
const inWords = (status, would) => (status === AGAIN ? "would come back" : (DONE.includes(status) ? would : "") + status);

/** How many have which status, such as `2 would be replayed, 1 refused.` */
export function summaryOf(results, would = "") {
  const counts = [...DONE, AGAIN, "refused", "unknown"].map((status) => [status, results.filter((result) => result.status === status).length]);
  return `${counts.filter(([, count]) => count > 0).map(([status, count]) => `${grouped(String(count))} ${inWords(status, would)}`).join(", ")}.`;
}
