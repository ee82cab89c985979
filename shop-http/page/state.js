// What a view shows of an answer is always one state of these:
//
// - `loading`: the first answer is awaited
// - `failed`: there was none, and nothing is known; `problem` says why, `mayPass` whether it is asked for again
// - `empty`: the answer is that there is nothing
// - `shown`: `data`, with a `problem` if it may be out of date

export const LOADING = { is: "loading", problem: "", mayPass: true };

/** The state after an event: `asked` for something else, `answered` with `data` (null for nothing), or `refused`. */
export function step(state, event) {
  switch (event.type) {
    case "asked":
      return LOADING;
    case "answered":
      if (event.data === null) return { is: "empty", problem: "", mayPass: true };
      return state.data === event.data && !state.problem ? state : { is: "shown", data: event.data, problem: "", mayPass: true };
    case "refused": {
      const { problem, mayPass } = event;
      return state.is === "shown" ? { ...state, problem, mayPass } : { is: "failed", problem, mayPass };
    }
    default:
      throw new Error(`no such event: ${event.type}`);
  }
}

/** The notice above a view in this state; `what` is its subject. */
export function noticeOf({ is, problem, mayPass }, what) {
  if (!problem) return "";
  const text = /[.!?…]$/.test(problem.trim()) ? problem.trim() : `${problem.trim()}.`;
  const again = mayPass ? " Trying again…" : "";
  return is === "shown" ? `${what} may be out of date: ${text}${again}` : `${what} cannot be loaded: ${text}${again}`;
}
