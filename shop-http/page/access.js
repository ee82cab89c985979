// The access key: a token or an API key, for a service that authenticates requests. It is kept until the tab is closed.

import { byId, say } from "./elements.js";
import { subjectOf } from "./identity.js";

const KEPT = "access-key";

function kept() {
  try {
    return sessionStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

/** The header of a request, with the key if there is one. */
export function authorization() {
  return kept() === null ? {} : { authorization: `Bearer ${kept()}` };
}

/** The user ID that the token names, if it is one. */
export const subject = () => subjectOf(kept() ?? "");

/** Asks for a key; `problem` says what is wrong with the present one. */
export function askForKey(problem = "") {
  byId("access").hidden = false;
  say(byId("access-problem"), kept() === null ? "" : problem);
}

/** Makes the form work. The page is loaded again with each key, so it shows nothing of another one. */
export function setUpAccess() {
  const forget = byId("access-forget");
  byId("access").hidden = forget.hidden = kept() === null;
  byId("access").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("access-key").value.trim();
    if (key === "") return say(byId("access-problem"), "Enter the access key.");
    sessionStorage.setItem(KEPT, key);
    location.reload();
  });
  forget.addEventListener("click", () => {
    sessionStorage.clear();
    location.reload();
  });
}
