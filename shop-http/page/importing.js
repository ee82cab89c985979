// For operators: imports a file of purchases, after a look at how the service reads it.

import { Refusal, importFile, previewImport } from "./api.js";
import { grouped } from "./exact.js";
import { duration } from "./health.js";
import { Mapping, choicesOrPreset, columnsParameter, forPage, namesIn, withChoice } from "./mapping.js";
import { money } from "./money.js";
import { html, useEffect, useLayoutEffect, useRef, useState } from "./preact.js";
import { counted, dayInWords, sentence, timeInWords, whatOf } from "./words.js";

/** The largest file, in bytes: what the service takes. */
const MAX_FILE = 32 * 1024 * 1024;
/** How much of a file is sent for a look at its first rows. */
const PREVIEW = 1024 * 1024;
/** What the service says of a column that it does not know. */
const IS_UNKNOWN = /^the column .* is unknown/;
/** A mapping of columns, with which such columns are not read. */
const ANY_COLUMNS = "userid=userid";
/** The delimiters of CSV, as the service names them, in words. */
const DELIMITERS = { ",": "commas", ";": "semicolons", "|": "bars", tab: "tabs" };
/** The systems whose exports the service knows. */
const PRESETS = [
  ["shopify-orders", "Shopify, orders"], ["stripe-payments", "Stripe, payments"], ["woocommerce", "WooCommerce, orders"],
  ["paypal", "PayPal, activity"], ["square", "Square, transactions"],
];
/** Before a file was looked at. */
const NOTHING = { names: [], preview: null, columns: undefined, problem: "" };
/** The counts of a report, with their words. */
const COUNTS = [["imported", "imported"], ["repeated", "imported before"], ["rejected", "rejected"], ["conflicting", "conflicting"]];

/** Reads a file or a pasted text, shows how the service reads it, sends it, and shows what became of its rows. */
export function Importing() {
  const [file, setFile] = useState(null);
  const [layout, setLayout] = useState({});
  const [chosen, setChosen] = useState({});
  const [{ names, preview, columns }, setLook] = useState(NOTHING);
  const [said, setSaid] = useState({ text: "" });
  const [report, setReport] = useState(null);
  const [rate, setRate] = useState("");
  const running = useRef(null);
  const [isRunning, setIsRunning] = useState(false);
  // The service knows the file, and has read it with other options: it imports the file if it is asked once more.
  const [isOtherwise, setIsOtherwise] = useState(false);
  useEffect(() => () => running.current?.abort(), []);

  // A file is looked at again when the options change; only the last look counts. This must happen before the page is drawn:
  // otherwise the button would still be there for a moment, and would import the file as it was looked at before the change.
  useLayoutEffect(() => {
    setLook((look) => ({ ...NOTHING, names: look.names }));
    setReport(null);
    setRate("");
    setSaid({ text: "" });
    setIsOtherwise(false);
    if (file === null) return undefined;
    if (file.size > MAX_FILE) {
      setSaid({ text: "The file is too large for this page. Use management import.", isBad: true });
      return undefined;
    }
    let isLast = true;
    const look = async () => {
      const found = await lookAt(file, layout, chosen, names);
      if (!isLast) return;
      setLook(found);
      if (found.problem) setSaid({ text: sentence(forPage(found.problem)), isBad: true });
    };
    look();
    return () => void (isLast = false);
  }, [file, layout, chosen]);

  const take = (file) => {
    setLook(NOTHING);
    setFile(file);
  };
  const send = async () => {
    running.current = new AbortController();
    setIsRunning(true);
    setReport(null);
    setRate("");
    setSaid({ text: "Importing…" });
    const start = performance.now();
    const show = (report) => {
      setReport(report);
      setRate(rateInWords(report.rows, performance.now() - start));
    };
    try {
      const onReport = (report) => {
        show(report);
        setSaid({ text: `Importing: ${inWords(report)}.` });
      };
      const options = { ...layout, columns, format: formatOf(file), again: isOtherwise || undefined };
      const last = await importFile(file, options, running.current.signal, onReport);
      show(last);
      const problem = last.problem && ` Stopped: ${sentence(last.problem)} Import again for the rest.`;
      setSaid({ text: `${sentence(inWords(last))}${problem ?? ""}`, isBad: Boolean(problem) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      setIsOtherwise(error.status === 409);
      if (error.status === 409) {
        setSaid({ text: otherwiseInWords(error.message), isBad: true });
        setIsRunning(false);
        return;
      }
      const isCancelled = running.current.signal.aborted;
      const text = isCancelled ? "Cancelled." : sentence(error.message);
      setSaid({ text: `${text} What was imported stays. Import again for the rest.`, isBad: !isCancelled });
    }
    setIsRunning(false);
  };
  const press = ({ detail }) => {
    // The second click of a double click does not cancel.
    if (detail > 1) return;
    if (isRunning) running.current.abort();
    else send();
  };
  const choices = choicesOrPreset(chosen, layout.preset, preview);
  const paste = (text) => take(text.trim() === "" ? null : new File([text], text.trimStart().startsWith("{") ? "pasted.ndjson" : "pasted.csv"));

  return html`<section class="ledger" id="import" aria-label="Import">
    <p class="hint" id="import-hint">A file of CSV or NDJSON: username, userid and price, optionally timestamp, item, quantity, reference, refunded, id and key, as the export writes them, or with other columns, whose meaning you choose. Purchases are written into the store, past the log; <span class="id">management import</span> writes into the log. The same file can be imported again: each row is imported once.</p>
    <div class="pair">
      <label>File <input type="file" id="import-file" accept=".csv,.ndjson,.jsonl,text/csv" aria-describedby="import-hint" disabled=${isRunning} onChange=${({ target }) => take(target.files[0] ?? null)} /></label>
      <label>or pasted text <textarea id="import-text" rows="3" spellcheck="false" autocomplete="off" disabled=${isRunning} onInput=${({ target }) => paste(target.value)}></textarea></label>
    </div>
    <${Options} isDisabled=${isRunning} onChange=${setLayout} />
    ${file && (preview || names.length > 0) && html`<p class="note" id="import-found">${fileInWords(file, names, preview)}</p>`}
    ${file && names.length > 0 && html`<${Mapping} names=${names} chosen=${choices} isDisabled=${isRunning} onChoose=${(column, member) => setChosen(withChoice(choices, column, member))} />`}
    <p class="answer ${said.isBad ? "bad" : "progress"}" id="import-said" role="status">${said.text}</p>
    <p class="note figures" id="import-rate">${rate}</p>
    ${preview && html`<div class="actions">
      <button type="button" id="import-button" class=${isRunning && "quiet"} onClick=${press}>${isRunning ? "Cancel" : isOtherwise ? "Import again" : "Import"}</button>
    </div>`}
    ${report?.problems.length > 0 && html`<${Problems} report=${report} />`}
    ${preview && !report && html`<${Preview} preview=${preview} />`}
  </section>`;
}

/** How the service reads the beginning of a file with what was `chosen` for its columns, whose `names` may be known. */
async function lookAt(file, layout, chosen, names) {
  const columns = columnsParameter(names, chosen);
  const found = await readWith(file, layout, columns);
  // A command might have misspelled a column that the service does not know. Here it is shown that it is not read.
  const isUnknown = columns === undefined && IS_UNKNOWN.test(found.problem);
  const named = isUnknown ? await readWith(file, layout, ANY_COLUMNS) : found;
  // What was chosen for the file before is chosen for the same columns of this one.
  const wanted = columnsParameter(named.names, chosen);
  return wanted === undefined || wanted === columns ? named : readWith(file, layout, wanted);
}

/**
 * How the service reads the beginning of a file with the parameter `columns`: `{preview, names, columns, problem}`. The
 * `names` of its columns are there also if it refuses the file for one of them.
 */
async function readWith(file, layout, columns) {
  try {
    const preview = await previewImport(file.slice(0, PREVIEW), { ...layout, columns, format: formatOf(file) });
    return { preview, names: preview.columns.map(({ column }) => column), columns, problem: "" };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { preview: null, names: namesIn(error.message) ?? [], columns, problem: error.message };
  }
}

/** What was found in a file, in a sentence. */
export function fileInWords(file, names, preview) {
  const size = `${grouped(String(Math.ceil(file.size / 1000)))} kB`;
  if (names.length === 0) return `The file ${file.name} of ${size} has a purchase in each line.`;
  const separated = preview ? `, separated by ${DELIMITERS[preview.delimiter]}` : "";
  return `The file ${file.name} of ${size} has ${counted(names.length, "column")}${separated}.`;
}

/** How many rows were read in so many milliseconds, in a sentence. */
export function rateInWords(rows, milliseconds) {
  const seconds = Math.max(milliseconds, 1) / 1000;
  const perSecond = grouped(String(Math.round(Number(rows) / seconds)));
  return `${counted(rows, "row")} in ${duration(milliseconds, 1000)}: ${perSecond} rows per second.`;
}

/** The sentence of the service about a file that it has read with other options, which says how a command goes on, for the page. */
export const otherwiseInWords = (problem) => `Nothing was imported: ${sentence(problem.replace(/ Import it with the same options.*$/, ""))} Choose the same options as before, or press Import again.`;

const formatOf = (file) => (/\.(ndjson|jsonl)$/i.test(file.name) ? "application/x-ndjson" : "text/csv");

/** The counts of a report, such as `2 imported, 1 rejected`. */
function inWords(report) {
  const counts = COUNTS.filter(([member]) => report[member] > 0);
  const words = counts.map(([member, word]) => `${grouped(String(report[member]))} ${word}`);
  if (report.excluded > 0) words.push(`${grouped(String(report.excluded))} excluded`);
  if (report.waiting > 0) words.push(`${grouped(String(report.waiting))} of them waiting for their purchase`);
  if (report.unterminated_line) words.push(`line ${report.unterminated_line} has no end, check whether the file was cut off`);
  return words.join(", ") || "no rows";
}

/** How a file of another system is written. */
function Options({ isDisabled, onChange }) {
  const form = useRef(null);
  const read = () => {
    const given = Object.fromEntries(new FormData(form.current));
    onChange(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== "")));
  };
  return html`<details id="import-options">
    <summary>A file of another system</summary>
    <form class="pair" ref=${form} onChange=${read} onSubmit=${(event) => event.preventDefault()}>
      <label>Exported by <select name="preset" disabled=${isDisabled}><option value="">another system</option>${PRESETS.map(([name, text]) => html`<option value=${name}>${text}</option>`)}</select></label>
      <label>Encoding <input name="encoding" placeholder="utf-8" list="import-encodings" disabled=${isDisabled} /></label>
      <datalist id="import-encodings"><option value="windows-1252" /><option value="utf-16le" /></datalist>
      <label>Lines before the columns <input name="skip_lines" type="number" min="0" placeholder="0" disabled=${isDisabled} /></label>
      <label>Only the rows with <input name="only" placeholder="Status=Completed|Refunded" disabled=${isDisabled} /></label>
      <label>Times written as <input name="time_pattern" placeholder="%d.%m.%Y %H:%M" disabled=${isDisabled} /></label>
      <label>Zone abbreviations <input name="zone_abbreviations" placeholder="PST=-08:00,PDT=-07:00" disabled=${isDisabled} /></label>
      <label>Time zone <input name="time_zone" placeholder="Europe/Berlin" disabled=${isDisabled} /></label>
      <label class="check"><input type="checkbox" name="decimal_comma" value="true" disabled=${isDisabled} /> Decimal comma</label>
      <label>Thousands <select name="thousands" disabled=${isDisabled}><option value="">1234</option><option value=",">1,234</option><option value=".">1.234</option><option value="'">1'234</option><option value="space">1 234</option></select></label>
      <label>Currency sign <input name="currency_sign" placeholder="$" maxlength="8" disabled=${isDisabled} /></label>
    </form>
  </details>`;
}

/** The first rows as purchases. */
function Preview({ preview: { columns, rows } }) {
  const ignored = columns.filter(({ member }) => member === null).map(({ column }) => column);
  const row = ({ line, purchase, problem }) => html`<tr key=${line}>
    <td>${line}</td>
    <td class="who">${purchase && html`<span class="name">${purchase.username}</span> <small>${purchase.userid} <time datetime=${purchase.timestamp}>${dayInWords(purchase.timestamp)} ${timeInWords(purchase.timestamp)}</time></small> <b>${money(String(purchase.price), purchase.currency)}</b> ${whatOf(purchase)} <small>${purchase.reference}</small>`}</td>
    <td class="result ${problem && "bad"}">${problem ?? ""}</td>
  </tr>`;
  return html`<table class="plain lines">
      <thead><tr><th scope="col">Line</th><th scope="col">Purchase</th><th scope="col">Problem</th></tr></thead>
      <tbody id="import-lines">${rows.map(row)}</tbody>
    </table>
    <p class="note">The first ${counted(rows.length, "row")}. Nothing is imported yet.${ignored.length > 0 ? ` Columns that are not read: ${ignored.join(", ")}.` : ""}</p>`;
}

/** The first rows that were not imported. */
function Problems({ report: { problems, rejected, conflicting } }) {
  const more = Number(rejected) + Number(conflicting) - problems.length;
  const row = ({ line, detail }) => html`<tr key=${line}><td>${line}</td><td class="result bad">${sentence(detail)}</td></tr>`;
  return html`<table class="plain lines">
      <thead><tr><th scope="col">Line</th><th scope="col">Problem</th></tr></thead>
      <tbody id="import-problems">${problems.map(row)}</tbody>
    </table>
    ${more > 0 && html`<p class="note">${counted(more, "more row")} not imported.</p>`}`;
}
