// What the browser keeps for the page: for this tab, or for all tabs.

// Where it keeps nothing, this lasts as long as the page.
const remembered = new Map();

/** What is kept under a name, null for nothing; `storage` is `sessionStorage` or `localStorage`. */
export function read(name, storage = "sessionStorage") {
  try {
    return JSON.parse(window[storage].getItem(name));
  } catch {
    return remembered.get(storage + name) ?? null;
  }
}

/** Keeps it, or forgets it if it is null. */
export function write(name, value, storage = "sessionStorage") {
  remembered.set(storage + name, value);
  try {
    if (value === null) window[storage].removeItem(name);
    else window[storage].setItem(name, JSON.stringify(value));
  } catch {
    // It is remembered.
  }
}
