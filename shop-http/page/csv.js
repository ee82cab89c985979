// Purchases in CSV, as the export writes them and `management import` reads them.

/** The columns, of which the first three are needed, and those of the file of failed lines. */
const COLUMNS = ["username", "userid", "price", "timestamp", "id", "key", "item", "quantity", "currency", "reference", "of", "reason"];
const NEEDED = COLUMNS.slice(0, 3);
const IGNORED = ["line", "problem"];

/** The values of a line; null where a quote is not closed. No value has a line break, so this affects its own line only. */
export function valuesOf(line) {
  if (line.split('"').length % 2 === 0) return null;
  const cells = `${line},`.matchAll(/(?:"((?:[^"]|"")*)"([^,]*)|([^,]*)),/g);
  return [...cells].map(([, quoted, rest, plain]) => plain ?? quoted.replaceAll('""', '"') + rest);
}

/** What a file has: a `problem`, or its first line `head` and the others: `[{number, text, purchase, problem}]`. */
export function readCsv(text) {
  const all = text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/).map((text, at) => ({ number: at + 1, text }));
  const [head, ...lines] = all.filter(({ text }) => text.trim() !== "");
  const columns = valuesOf(head?.text ?? "")?? [];
  const repeated = columns.find((name, at) => columns.indexOf(name) !== at);
  if (repeated !== undefined) return { problem: `The column ${repeated} is there twice. Remove one of them.` };
  const missing = NEEDED.find((name) => !columns.includes(name));
  if (missing) return { problem: `The column ${missing} is missing in the first line.` };
  const unknown = columns.find((name) => !COLUMNS.includes(name) && !IGNORED.includes(name));
  if (unknown !== undefined) return { problem: `The column ${JSON.stringify(unknown)} is unknown. Columns are ${COLUMNS.join(", ")}.` };
  return { head: head.text, lines: lines.map((line) => ({ ...line, ...lineOf(columns, line) })) };
}

function lineOf(columns, { number, text }) {
  const values = valuesOf(text);
  if (values === null) return { problem: "A quote is not closed." };
  if (values.length !== columns.length) return { problem: `It has ${values.length} columns, and the first line ${columns.length}.` };
  const given = Object.fromEntries(columns.map((name, at) => [name, values[at]]).filter(([name, value]) => value !== "" && COLUMNS.includes(name)));
  // Of a file of failed lines, which has had this column for its problems.
  if (!columns.includes("of")) delete given.reason;
  for (const name of ["username", "userid", "item", "reference", "reason"]) given[name] &&= withoutQuote(given[name]);
  const { id, key, ...purchase } = given;
  // An ID that this service does not make is a key, and a line without both is recorded once for its number and content.
  const isId = /^([0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i.test(id ?? "");
  const name = isId ? { id } : { key: id ?? key ?? `import-${number}-${hashOf(text.trim())}` };
  return { purchase: { ...purchase, ...name }, problem: problemOf(text, given) };
}

function problemOf(text, { price, timestamp, id, key, ...others }) {
  const missing = NEEDED.find((name) => !{ price, ...others }[name]);
  if (text.includes("\uFFFD")) return "It is not in UTF-8.";
  if (missing) return `${missing} is missing.`;
  if (!/^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(others.of ? price.replace("-", "") : price)) return "price must be a number such as 29.99.";
  if (timestamp && !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$/i.test(timestamp)) return "timestamp must be such as 2026-03-01T09:00:00Z.";
  return id && key && "It has an id and a key. Leave one of them.";
}

/** A text as it was before the export put an apostrophe in front of what a spreadsheet takes for a formula. */
const withoutQuote = (text) => text.replace(/(^|[,;|\t])'(?=['"]*[=+\-@＝＋－＠])/g, "$1");

/** The `failed` lines with their reasons, as a file that is read again when they are corrected. */
export function failedAsCsv(head, failed) {
  return [`line,problem,${head}`, ...failed.map(({ number, reason, text }) => `${number},"${reason.replaceAll('"', '""')}",${text}`), ""].join("\r\n");
}

/** A hash of 64 bits. */
function hashOf(text) {
  const bytes = new TextEncoder().encode(text);
  const half = (factor) => bytes.reduce((hash, byte) => Math.imul(hash ^ byte, factor), 0x811c9dc5) >>> 0;
  return half(0x01000193).toString(36) + half(0x9e3779b1).toString(36);
}
