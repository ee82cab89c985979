// Which columns of a file have which members of a purchase. The service reads the columns; the page shows them, and takes
// another choice.

import { html } from "./preact.js";

/** The members of a purchase that a column can have, with their names for people. */
const MEMBERS = {
  userid: "User ID", username: "Name", price: "Price", timestamp: "Time", item: "What", quantity: "Quantity", currency: "Currency", reference: "Reference", refunded: "Refunded amount",
  id: "ID", key: "Idempotency key", of: "ID of the refunded purchase", reason: "Reason of the refund", more: "Further members",
};

/** The members that may be in several columns, whose texts are joined: a date and a time, a first and a last name. */
const JOINED = ["timestamp", "username"];

/** The member that a column is read as, empty for none: the one that was `chosen` for it, or the one of the same name. */
export function memberOf(column, chosen) {
  if (Object.hasOwn(chosen, column)) return chosen[column];
  const isTaken = Object.values(chosen).includes(column);
  return Object.hasOwn(MEMBERS, column) && !isTaken ? column : "";
}

/** What was chosen for the columns of these `names`: the file before may have had others. */
const choicesFor = (names, chosen) => Object.fromEntries(Object.entries(chosen).filter(([column]) => names.includes(column)));

/** The choices with `member` for `column`. Each member is read from one column, if its texts cannot be joined. */
export function withChoice(chosen, column, member) {
  const others = Object.entries(chosen).filter(([other, known]) => other !== column && (member === "" || JOINED.includes(member) || known !== member));
  return { ...Object.fromEntries(others), [column]: member };
}

/** What was chosen, or what the service reads by a preset, as its preview has shown, while nothing was. */
export function choicesOrPreset(chosen, preset, preview) {
  if (!preset || Object.keys(chosen).length > 0 || preview === null) return chosen;
  return Object.fromEntries(preview.columns.filter(({ member }) => member !== null).map(({ column, member }) => [column, member]));
}

/** The parameter `columns` of the service; undefined while nothing is chosen: then it refuses columns that it does not know. */
export function columnsParameter(names, chosen) {
  const choices = choicesFor(names, chosen);
  if (Object.keys(choices).length === 0) return undefined;
  const read = names.filter((column) => memberOf(column, choices) !== "");
  const pairs = read.map((column) => `${memberOf(column, choices)}=${column}`);
  const quoted = pairs.map((pair) => (/[",]/.test(pair) ? `"${pair.replaceAll('"', '""')}"` : pair));
  return quoted.join(",") || undefined;
}

/** The names of the columns in the sentence in which the service misses one of them; undefined in other sentences. */
export const namesIn = (problem) => /which has: (.*?)(?:; name it by columns: .*)?$/.exec(problem)?.[1].split(", ");

/** The sentence of the service, which says how a command names a column, for the page. */
export const forPage = (problem) => problem.replace(/; name it by columns: .*$/, ". Choose below which column it is.");

/** A choice for each column; `onChoose` gets a column and its member. */
export function Mapping({ names, chosen, isDisabled, onChoose }) {
  const choices = choicesFor(names, chosen);
  const choice = (column, at) => {
    const current = memberOf(column, choices);
    // A column with the name of a member is read, unless another column is read as that.
    const isLeftOut = current === "" || !Object.hasOwn(MEMBERS, column);
    const option = (value, text) => html`<option value=${value} selected=${value === current}>${text}</option>`;
    return html`<label key=${column}>${column} <select id="column-${at}" value=${current} disabled=${isDisabled} onChange=${({ target }) => onChoose(column, target.value)}>
      ${isLeftOut && option("", "is not read")}
      ${Object.entries(MEMBERS).map(([member, text]) => option(member, text))}
    </select></label>`;
  };
  return html`<fieldset class="mapping" id="mapping">
    <legend>What the columns of the file are</legend>
    ${names.filter(Boolean).map(choice)}
  </fieldset>`;
}
