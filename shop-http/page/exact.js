// Money without floats. JSON.parse would make floats of numbers, so they are quoted before it reads them, and
// every sum is one of big integers.

// A whole string, or a number: what looks like a number within a string is passed over with it.
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** What `text` says as JSON, each number as the text that stands there. */
export function parseExact(text) {
  return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (token.startsWith('"') ? token : `"${token}"`)));
}

/** How numbers are written in the language of the browser. */
const LOCAL = marksOf();

/** The marks between digits in a language: `{group, decimal}`. */
export function marksOf(language) {
  const parts = new Intl.NumberFormat(language, { numberingSystem: "latn", useGrouping: "always" }).formatToParts(1234567.8);
  const mark = (type) => parts.find((part) => part.type === type)?.value ?? "";
  return { group: mark("group"), decimal: mark("decimal") };
}

/**
 * The amount that a person has entered, as a JSON number is written: `{amount}`, or `{problem}`. A comma and a point are
 * both taken for the decimal mark, unless the same text is one of thousands in the language.
 */
export function readAmount(text, { group } = LOCAL) {
  const entered = text.trim().replace(/(?<=\d)[\s'’](?=\d{3}(?!\d))/g, "");
  if (entered === "") return { problem: "Enter an amount, such as 29.99." };
  const [, before, mark, after] = /^(\d{1,3})([.,])(\d{3})$/.exec(entered) ?? [];
  if (mark !== undefined && mark === group) {
    const other = mark === "." ? "," : ".";
    return { problem: `Is this ${before}${after} or ${before}${other}${after}? Enter it without a mark for thousands.` };
  }
  const plain = /^(?<whole>\d*)(?:[.,](?<decimals>\d+))?$/;
  const inThousands = /^(?<whole>\d{1,3}(?<mark>[.,])\d{3}(?:\k<mark>\d{3})*)(?:(?!\k<mark>)[.,](?<decimals>\d+))?$/;
  const { whole, decimals } = (plain.exec(entered) ?? inThousands.exec(entered))?.groups ?? {};
  if (whole === undefined) return { problem: "Enter the amount as a number, such as 29.99." };
  return { amount: asJson(whole.replace(/[.,]/g, "") + (decimals === undefined ? "" : `.${decimals}`)) };
}

/** `text`, which is a decimal, as a JSON number is written: `0.5` for `.5`, and `5` for `05`. */
export function asJson(text) {
  return text.replace(/^0+(?=\d)/, "").replace(/^\./, "0.");
}

/** Decimal texts as whole numbers of the smallest decimal among them, of which one has `scale`. */
function scaled(texts) {
  const parts = texts.map((text) => text.split("."));
  const scale = Math.max(0, ...parts.map(([, decimals = ""]) => decimals.length));
  return { scale, units: parts.map(([whole, decimals = ""]) => BigInt(whole + decimals.padEnd(scale, "0"))) };
}

/** The sum of decimal texts, with the maximum number of decimals among them. */
export function sum(texts) {
  const { scale, units } = scaled(texts);
  const total = units.reduce((total, unit) => total + unit, 0n);
  const [sign, digits] = [total < 0n ? "-" : "", String(total < 0n ? -total : total).padStart(scale + 1, "0")];
  return sign + (scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`);
}

/** By how many percent the decimal text `now` is more than `before`, rounded; null for more than nothing or less. */
export function percentMore(now, before) {
  const [a, b] = scaled([now, before]).units;
  return b <= 0n ? null : Math.round(Number(((a - b) * 1000n) / b) / 10);
}

/** A decimal for people: the same digits in the way of their language, at least so many `decimals` of them behind the mark. */
export function forPeople(text, language, decimals = 2) {
  const [, sign, whole, given = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  if (whole === undefined) return String(text);
  const { decimal } = language === undefined ? LOCAL : marksOf(language);
  const behind = given.padEnd(decimals, "0");
  return `${sign}${grouped(whole, language)}${behind && decimal}${behind}`;
}

/** A decimal text with at most so many `decimals`; a half goes to the even digit. */
export function rounded(text, decimals) {
  const [, sign, whole, given = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  if (given.length <= decimals) return text;
  const units = BigInt(whole + given.slice(0, decimals));
  const rest = given.slice(decimals);
  const half = "5".padEnd(rest.length, "0");
  const isUp = rest > half || (rest === half && units % 2n === 1n);
  const digits = String(units + BigInt(isUp)).padStart(decimals + 1, "0");
  if (decimals === 0) return sign + digits;
  return `${sign}${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

/** A whole number for people. */
export function grouped(text, language) {
  if (!/^-?\d+$/.test(text)) return String(text);
  return new Intl.NumberFormat(language, { numberingSystem: "latn" }).format(BigInt(text));
}
