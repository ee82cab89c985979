// Who the customer is: a user ID and a name, kept until the tab is closed.

const KEPT = "identity";

export function keptIdentity() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

/** Keeps it, or forgets it if it is null. */
export function keepIdentity(identity) {
  try {
    if (identity === null) sessionStorage.removeItem(KEPT);
    else sessionStorage.setItem(KEPT, JSON.stringify(identity));
  } catch {
    // It lasts as long as the page.
  }
}

/** The subject of a token, which is the user ID of a customer; undefined for a key that is no token. */
export function subjectOf(token) {
  try {
    const payload = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    const { sub } = JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (char) => char.charCodeAt(0))));
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}
