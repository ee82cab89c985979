// Asking, and the state of the answer as one component for all views.

import { Refusal } from "./api.js";
import { html, useEffect, useReducer, useRef } from "./preact.js";
import { LOADING, noticeOf, step } from "./state.js";

/** How long after a failure it is asked for again, in milliseconds. */
const RETRY = 4000;

/**
 * The state of what `ask` answers; it is asked again when `key` changes, every `every` milliseconds if given, after a
 * failure that may pass, and by the returned function. `ask` gets the data that is shown; null means that there is nothing.
 */
export function useLoaded(key, ask, every) {
  const [state, tell] = useReducer(step, LOADING);
  const now = useRef({});
  now.current = { ...now.current, ask, state };
  useEffect(() => {
    let [timer, question] = [undefined, 0];
    let isOver = false;
    const run = async (asking = now.current.ask) => {
      clearTimeout(timer);
      const mine = ++question;
      let pause = every;
      try {
        const { is, data } = now.current.state;
        const answer = await asking(is === "shown" && question > 1 ? data : undefined);
        if (!isOver && mine === question) tell({ type: "answered", data: answer });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        if (!isOver && mine === question) tell({ type: "refused", problem: error.message, mayPass: error.mayPass });
        pause = error.mayPass ? RETRY : undefined;
      }
      if (!isOver && mine === question && pause && !document.hidden) timer = setTimeout(run, pause);
    };
    const shown = () => document.hidden || !(every || now.current.state.problem) || run();
    tell({ type: "asked" });
    now.current.run = run;
    run();
    document.addEventListener("visibilitychange", shown);
    return () => {
      isOver = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }, [key]);
  return [state, (asking) => now.current.run(asking)];
}

/** What is shown of a state: `children` makes the view of its data; `what` is its subject, `empty` is shown for nothing. */
export function Loaded({ id, state, what, empty, children }) {
  const notice = noticeOf(state, what);
  return html`<div id=${id} data-state=${state.is} aria-busy=${state.is === "loading"}>
    ${notice && html`<p class="notice bad" role="alert">${notice}</p>`}
    ${state.is === "loading" && html`<p class="intro">Loading…</p>`}
    ${state.is === "empty" && html`<div class="intro" role="status">${empty}</div>`}
    ${state.is === "shown" && children(state.data)}
  </div>`;
}
