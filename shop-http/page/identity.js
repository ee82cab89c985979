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
