// Asking, and the state of the answer as one component for all views.

import { Refusal } from "./api.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { inOrder } from "./questions.js";
import { LOADING, noticeOf, step } from "./state.js";

/** How long after a failure it is asked for again, in milliseconds. */
const RETRY = 4000;

/**
 * The state of what `ask` answers; it is asked again when `key` changes, every `every` milliseconds if given, after a
 * failure that may pass, and by the two returned functions: what a person asks, and what the page asks by itself.
 * `ask` gets the data that is shown; null means that there is nothing.
 */
export function useLoaded(key, ask, every) {
  const [state, setState] = useState(LOADING);
  const now = useRef({ state });
  now.current.ask = ask;
  useEffect(() => {
    let [timer, isOver] = [undefined, false];
    // The next question gets what this one has found, also before it is drawn.
    const show = (event) => setState((now.current.state = step(now.current.state, event)));
    const attempt = async (asking = now.current.ask, isNewest) => {
      if (isOver) return;
      clearTimeout(timer);
      let [event, pause] = [undefined, every];
      try {
        event = { type: "answered", data: await asking(now.current.state.data) };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        event = { type: "refused", problem: error.message, mayPass: error.mayPass };
        pause = error.mayPass ? RETRY : undefined;
      }
      if (isOver || !isNewest()) return;
      show(event);
      if (pause && !document.hidden) timer = setTimeout(refresh, pause);
    };
    const { ask, refresh } = inOrder(attempt);
    const look = () => document.hidden || !(every || now.current.state.problem) || refresh();
    Object.assign(now.current, { byPerson: ask, refresh });
    show({ type: "asked" });
    refresh();
    document.addEventListener("visibilitychange", look);
    return () => {
      isOver = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [key]);
  return [state, (asking) => now.current.byPerson(asking), (asking) => now.current.refresh(asking)];
}

/** What is shown of a state: `children` makes the view of its data; `what` is its subject, `empty` is shown for nothing. */
export function Loaded({ id, state, what, empty, children }) {
  const text = noticeOf(state, what);
  const notice = text && html`<p class=${state.is === "shown" ? "notice bad dock" : "notice bad"} role="alert">${text}</p>`;
  return html`<div id=${id} data-state=${state.is} aria-busy=${state.is === "loading"}>
    ${state.is !== "shown" && notice}
    ${state.is === "loading" && html`<p class="intro">Loading…</p>`}
    ${state.is === "empty" && html`<div class="intro" role="status">${empty}</div>`}
    ${state.is === "shown" && [children(state.data), notice]}
  </div>`;
}
