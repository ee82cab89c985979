// Views and their addresses: `#view?parameters`. Going to one is a step of the browser's history.

import { useEffect, useState } from "./preact.js";

/** `{view, params}` of the part of an address behind `#`. */
export function readAddress(hash) {
  const [view, query = ""] = hash.replace(/^#/, "").split("?", 2);
  return { view, params: Object.fromEntries(new URLSearchParams(query)) };
}

/** The address of a view; parameters without a value are left out. */
export function addressOf(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== undefined && value !== "");
  return `#${view}${given.length > 0 ? `?${new URLSearchParams(given)}` : ""}`;
}

/** The address that is shown, and a function that goes to another one. */
export function useAddress() {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const follow = () => setHash(location.hash);
    window.addEventListener("hashchange", follow);
    // The address may have changed between the first drawing and this effect, which runs after it.
    follow();
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  return [readAddress(hash), (view, params) => (location.hash = addressOf(view, params))];
}
