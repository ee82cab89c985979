// For operators: what becomes of dead letters that are replayed. Each is stored, or comes back as another dead letter.

import { Refusal, deadLetters, page } from "./api.js";
import { grouped } from "./exact.js";
import { Loaded, useLoaded } from "./loaded.js";
import { html } from "./preact.js";
import { mayBeId } from "./purchase.js";

const INTERVAL = 2000;
/** How many purchases are looked up at once. */
const LOOKUPS = 50;
/** How often is asked: about four minutes. */
const ROUNDS = 120;
/** The clocks of the log and the service may differ by this, in milliseconds. */
const SKEW = 60_000;
/** The most that the service lists at once. */
const MAX_LIMIT = 1000;

/** Whether a look-up says that a dead letter is stored: under the ID of a conflict, another purchase is. */
const isVisible = ({ id, reason }) => reason !== "conflict" && mayBeId(id);

async function isStored({ id }) {
  try {
    return !(await page({ everyone: true }, { limit: 1, waitFor: id, wait: 0 })).isPending;
  } catch (error) {
    if (error instanceof Refusal && !error.mayPass) return false;
    throw error;
  }
}

/** Which of the replayed `letters` came back among `found`, by ID; a replayed record has another position. */
export function cameBack(letters, found) {
  const ids = new Set(letters.map(({ id }) => id).filter(Boolean));
  const old = new Set(letters.map(({ position }) => position));
  return new Map(found.filter(({ id, position }) => ids.has(id) && !old.has(position)).map(({ id, reason }) => [id, reason]));
}

/** What became of `letters`, such as `48 stored, 2 came back: conflict.` `back` has reasons by ID, `stored` has IDs. */
export function fatesOf(letters, { back, stored }) {
  const reasons = [...new Set(back.values())].sort().join(", ");
  const kinds = [`came back: ${reasons}`, "stored", "without ID, not followed", "pending", "not back so far"];
  const kindOf = (letter) => [back.has(letter.id), stored.has(letter.id), !letter.id, isVisible(letter), true].indexOf(true);
  const counts = kinds.map((_, kind) => letters.filter((letter) => kindOf(letter) === kind).length);
  const parts = [1, 3, 4, 2, 0].filter((kind) => counts[kind] > 0).map((kind) => `${grouped(String(counts[kind]))} ${kinds[kind]}`);
  return `${parts.join(", ")}.`;
}

/** `letters` were replayed; `since` is the time of the service. */
export function Followed({ id, letters, since }) {
  const [state] = useLoaded("replayed", async (known = { round: 0, back: new Map(), stored: new Set() }) => {
    const open = letters.filter(({ id }) => !known.back.has(id) && !known.stored.has(id));
    if (open.length === 0 || known.round === ROUNDS) return known;
    const { items } = await deadLetters({ since: since && new Date(Date.parse(since) - SKEW).toISOString(), limit: MAX_LIMIT });
    const back = new Map([...known.back, ...cameBack(letters, items)]);
    const begin = (known.round * LOOKUPS) % open.length;
    const asked = open.slice(begin, begin + LOOKUPS).filter((letter) => !back.has(letter.id) && isVisible(letter));
    const answers = await Promise.all(asked.map(isStored));
    return { round: known.round + 1, back, stored: new Set([...known.stored, ...asked.filter((_, index) => answers[index]).map(({ id }) => id)]) };
  }, INTERVAL);
  const shown = (fates) => html`<p id="${id}-fates" role="status">${fatesOf(letters, fates)}</p>`;
  return html`<${Loaded} id="${id}-followed" state=${state} what="What became of them">${shown}<//>`;
}
