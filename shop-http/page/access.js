// Who uses the page: the access key, which is a token or an API key, and what its holder may do. The key is kept until the
// tab is closed. A service that authenticates no requests needs none, and allows everything.

const KEPT = "access-key";
const NEEDS_KEY = globalThis.document?.querySelector('meta[name="access"]').content === "key";

/** The holder of the key as the service knows it, `{name, subject, may}`; null before it has answered. */
let holder = null;
let onRefused = () => {};

function kept() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

/** Whether the service asks who sends its requests. */
export const needsKey = () => NEEDS_KEY;
export const hasKey = () => kept() !== null;

/** The header of a request, with the key if there is one. */
export function authorization() {
  return hasKey() ? { authorization: `Bearer ${kept()}` } : {};
}

/** The user ID of the holder, if it is a user. */
export const subject = () => holder?.subject ?? undefined;
/** Whether the holder may do this: `observe`, `operate`, `list_any_user` or `list_everyone`. */
export const may = (action) => holder?.may.includes(action) ?? !NEEDS_KEY;

/** Notes the holder of the key. */
export const setHolder = (known) => void (holder = known);

/** Calls `listener` when a request is refused for its key. */
export const whenRefused = (listener) => void (onRefused = listener);
/** A request was refused for its key. */
export const refused = () => onRefused();

/** Uses this key, or none if it is null. The page is loaded again, so it shows nothing of another one. */
export function use(key) {
  if (key === null) sessionStorage.clear();
  else sessionStorage.setItem(KEPT, key);
  location.reload();
}
