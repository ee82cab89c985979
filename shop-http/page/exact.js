// Money without floats. JSON.parse would make floats of numbers, so they are quoted before it reads them, and
// every sum is one of big integers.

// A whole string, or a number: what looks like a number within a string is passed over with it.
const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** What `text` says as JSON, each number as the text that stands there. */
export function parseExact(text) {
  return JSON.parse(text.replace(STRING_OR_NUMBER, (token) => (token.startsWith('"') ? token : `"${token}"`)));
}

/** Whether this can be the text of a price. The service decides. */
export function isDecimal(text) {
  return /^\d+(\.\d+)?$|^\.\d+$/.test(text);
}

/** `text`, which is a decimal, as a JSON number is written: `0.5` for `.5`, and `5` for `05`. */
export function asJson(text) {
  return text.replace(/^0+(?=\d)/, "").replace(/^\./, "0.");
}

/** The sum of decimal texts, with the maximum number of decimals among them. */
export function sum(texts) {
  const parts = texts.map((text) => text.split("."));
  const scale = Math.max(0, ...parts.map(([, decimals = ""]) => decimals.length));
  const units = parts.map(([whole, decimals = ""]) => BigInt(whole + decimals.padEnd(scale, "0")));
  const digits = String(units.reduce((total, unit) => total + unit, 0n)).padStart(scale + 1, "0");
  return scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** A decimal for people: the same digits, those before the point in groups of three, at least two behind it. */
export function forPeople(text) {
  if (!/^-?\d+(\.\d+)?$/.test(text)) return text;
  const [whole, decimals = ""] = text.split(".");
  return `${grouped(whole)}.${decimals.padEnd(2, "0")}`;
}

/** A whole number for people: with spaces that do not break, which in no language are a point. */
export function grouped(text) {
  return String(text).replace(/\B(?=(\d{3})+$)/g, "\u00a0");
}
