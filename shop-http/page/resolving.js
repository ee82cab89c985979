// For operators: replays or discards dead letters. A dry run says what would be done, which is confirmed.

import { Refusal, resolve } from "./api.js";
import { grouped } from "./exact.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { counted, sentence } from "./words.js";

/** The most that the service resolves in a request. */
const MAX_POSITIONS = 1000;
const ACTIONS = { replay: { verb: "Replay", done: "replayed" }, discard: { verb: "Discard", done: "discarded" } };
const IDLE = { is: "idle" };

/**
 * `positions` are those of the dead letters; `onResolved` is called when some may be resolved. `subject` says how
 * many are selected. A gap is not replayed.
 */
export function Resolve({ id, positions, subject, isGap, onResolved }) {
  const [state, set] = useState(IDLE);
  const panel = useRef(null);
  const chosen = positions.join();
  const isShown = ["planned", "done", "failed"].includes(state.is);
  // What was planned for others is not confirmed.
  useEffect(() => set((state) => (state.is === "planned" ? IDLE : state)), [chosen]);
  useEffect(() => void (isShown && panel.current.focus()), [state]);
  const run = async (how, positions, isDryRun) => {
    set({ is: "sending" });
    try {
      set({ is: isDryRun ? "planned" : "done", how, results: await resolve(how, positions, isDryRun) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const outcome = isDryRun ? "Nothing was changed." : error.mayPass ? "It is not known what was done." : "";
      set({ is: "failed", text: `${sentence(error.message)} ${outcome}` });
    }
    if (!isDryRun) onResolved();
  };
  const isSending = state.is === "sending";
  const button = ([how, { verb }]) => html`<button type="button" class="quiet" id="${id}-${how}" aria-disabled=${isSending ? "true" : undefined} onClick=${() => isSending || run(how, positions, true)}>${verb}…</button>`;
  const actions = Object.entries(ACTIONS).filter(([how]) => !(isGap && how === "replay"));
  return html`
    ${positions.length > 0 && state.is !== "planned" && html`<div class="actions" role="group" aria-label="What is done with them">
      ${subject && html`<span role="status">${subject}</span>`}
      ${positions.length > MAX_POSITIONS ? html`<span class="problem">At most ${grouped(String(MAX_POSITIONS))} are resolved at once.</span>` : actions.map(button)}
    </div>`}
    <div class=${isShown && "outcome"} id="${id}-outcome" tabindex="-1" ref=${panel} role="group" aria-label="Outcome">
      ${state.is === "planned" && html`<${Plan} id=${id} ...${state} onConfirmed=${(positions) => run(state.how, positions, false)} onCancelled=${() => set(IDLE)} />`}
      ${state.is === "done" && html`<p>${summaryOf(state.results)}</p><${Results} results=${state.results} />`}
      ${state.is === "failed" && html`<p class="problem" role="alert">${state.text}</p>`}
    </div>`;
}

/** What would be done, to be confirmed. */
function Plan({ id, how, results, onConfirmed, onCancelled }) {
  const { verb, done } = ACTIONS[how];
  const positions = results.filter(({ status }) => status === done).map(({ position }) => position);
  return html`<p>${summaryOf(results, "would be ")}</p>
    <${Results} results=${results} would="would be " />
    <div class="actions">
      ${positions.length > 0 && html`<button type="button" id="${id}-confirm" onClick=${() => onConfirmed(positions)}>${verb} ${counted(positions.length, "dead letter")}</button>`}
      <button type="button" class="quiet" id="${id}-cancel" onClick=${onCancelled}>Cancel</button>
    </div>`;
}

function Results({ results, would = "" }) {
  return html`<ul class="results">${results.map(({ position, status, detail }) => html`<li>${position}: ${inWords(status, would)}${detail && html` <small>${detail}</small>`}</li>`)}</ul>`;
}

const DONE = Object.values(ACTIONS).map(({ done }) => done);
const inWords = (status, would) => (DONE.includes(status) ? would : "") + status;

/** How many have which status, such as `2 would be replayed, 1 refused.` */
export function summaryOf(results, would = "") {
  const counts = [...DONE, "refused", "unknown"].map((status) => [status, results.filter((result) => result.status === status).length]);
  return `${counts.filter(([, count]) => count > 0).map(([status, count]) => `${grouped(String(count))} ${inWords(status, would)}`).join(", ")}.`;
}
