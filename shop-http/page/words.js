// Words for people.

import { grouped } from "./exact.js";

/** A format of the browser's language, with the digits that amounts have. */
export const dateFormat = (options) => new Intl.DateTimeFormat(undefined, { numberingSystem: "latn", ...options });

const day = dateFormat({ dateStyle: "medium" });
const time = dateFormat({ timeStyle: "medium" });
const utcDay = dateFormat({ dateStyle: "medium", timeZone: "UTC" });
const utcMonth = dateFormat({ year: "numeric", month: "short", timeZone: "UTC" });

export const dayInWords = (date) => day.format(new Date(date));
export const timeInWords = (date) => time.format(new Date(date));
/** A text such as `2026-11-22` in words, or its month. */
export const dateInWords = (text, per) => (per === "month" ? utcMonth : utcDay).format(new Date(`${text}T00:00:00Z`));

/** `text` with a mark at its end. */
export function sentence(text) {
  const trimmed = text.trim();
  return /[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

/** A number of things. */
export const counted = (count, thing) => `${grouped(String(count))} ${thing}${String(count) === "1" ? "" : "s"}`;

/** What was bought, such as `2 × coffee`; empty if that is not known. */
export const whatOf = ({ item = "", quantity }) => (item && quantity && String(quantity) !== "1" ? `${quantity} × ${item}` : item);
