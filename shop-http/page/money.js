// Money for people: all its digits, with the currency of the shop where it has one.

import { forPeople, rounded } from "./exact.js";

/** The currency of the shop, three letters of ISO 4217, as the document names it; empty where the shop has none. */
const CURRENCY = globalThis.document?.querySelector('meta[name="currency"]')?.content ?? "";

/** How a currency is written in a language, such as with its sign in front. */
const formatOf = (currency, language) => new Intl.NumberFormat(language, { style: "currency", currency, numberingSystem: "latn" });

const formats = new Map();

/** The format of a currency in the browser's language. */
function localFormatOf(currency) {
  if (!formats.has(currency)) formats.set(currency, formatOf(currency));
  return formats.get(currency);
}

/** Writes a decimal text as money, with all its digits: `€29.99` for `29.99`. Without a currency it is a number. */
export function money(text, currency = CURRENCY, language = undefined) {
  const [, sign, digits] = /^(-?)(\d+(?:\.\d+)?)$/.exec(text) ?? [];
  const isKnown = /^[A-Z]{3}$/.test(currency);
  if (digits === undefined || !isKnown) return forPeople(text, language);

  const format = language === undefined ? localFormatOf(currency) : formatOf(currency, language);
  const { maximumFractionDigits: decimals } = format.resolvedOptions();
  // A float cannot hold all digits, so they take the place of the number in a sample with the same sign.
  const sample = format.formatToParts(sign === "-" ? -1 : 1);
  const written = sample.map(({ type, value }) => {
    if (type === "integer") return forPeople(digits, language, decimals);
    return type === "decimal" || type === "fraction" ? "" : value;
  });
  return written.join("");
}

/** Writes a decimal text as money, rounded to the decimals of the currency; a half goes to the even digit. */
export function moneyInShort(text, currency = CURRENCY, language = undefined) {
  const decimals = /^[A-Z]{3}$/.test(currency) ? localFormatOf(currency).resolvedOptions().maximumFractionDigits : 2;
  return money(rounded(text, decimals), currency, language);
}

const rough = new Intl.NumberFormat(undefined, {
  notation: "compact", maximumSignificantDigits: 3, numberingSystem: "latn", ...(CURRENCY && { style: "currency", currency: CURRENCY }),
});

/** Writes a number as money in a few characters, such as `€1.5K`. */
export const roughMoney = (amount) => rough.format(amount);

/** The label of a field for money, which says its currency: `Price in EUR`. */
export const inCurrency = (label, currency = CURRENCY) => (currency ? `${label} in ${currency}` : label);
