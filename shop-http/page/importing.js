// For operators: records the purchases of a CSV file, after a look at its lines.

import { Refusal, buyMany } from "./api.js";
import { failedAsCsv, readCsv } from "./csv.js";
import { forPeople, grouped } from "./exact.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { download } from "./purchases.js";
import { counted, sentence, whatOf } from "./words.js";

/** The number of lines that are sent at once, below the rate of a client. */
const BATCH = 200;
/** The largest file, in bytes. */
const MAX_FILE = 50_000_000;
/** How many of the first lines are shown, and how many with those that have failed. */
const [SHOWN, MAX_SHOWN] = [50, 500];
const WORDS = { recorded: "Recorded", before: "Recorded before" };

/** The result of a line of a batch: `{is, reason}`. */
function resultOf({ status, replayed, detail }) {
  if (status === "acknowledged") return { is: replayed ? "before" : "recorded" };
  return { is: "failed", reason: sentence(`${status === "unknown" ? "It may be recorded. Import it again" : "Refused"}: ${detail ?? "no reason"}`) };
}

/** Reads a file or a pasted text, shows its lines, sends those without a problem, and shows their results. */
export function Importing() {
  const [file, setFile] = useState({});
  const [results, setResults] = useState(new Map());
  const [run, setRun] = useState({ isRunning: false });
  const isOver = useRef(false);
  useEffect(() => () => void (isOver.current = true), []);
  const read = (name, text) => {
    setFile({ name, ...(text.trim() === "" ? {} : readCsv(text)) });
    setResults(new Map());
    setRun({ isRunning: false });
  };
  const choose = async ({ target: { files: [chosen] } }) => {
    if (chosen && chosen.size > MAX_FILE) setFile({ problem: "The file is too large for this page. Use management import." });
    else if (chosen) read(chosen.name, await chosen.text());
  };
  const lines = (file.lines ?? []).map((line) => ({ ...line, ...(line.problem ? { is: "failed", reason: line.problem } : results.get(line.number)) }));
  const valid = lines.filter(({ problem }) => !problem);
  const send = async () => {
    isOver.current = false;
    for (let at = 0; at < valid.length && !isOver.current; ) {
      const part = valid.slice(at, at + BATCH);
      setRun({ isRunning: true, sent: at });
      try {
        const answers = await buyMany(part.map(({ purchase }) => purchase));
        setResults((known) => new Map([...known, ...part.map(({ number }, index) => [number, resultOf(answers[index])])]));
        at += BATCH;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        if (error.status !== 429) return setRun({ isRunning: false, problem: `Stopped at line ${part[0].number}: ${sentence(error.message)} Import again for the rest.` });
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter ?? 2)));
      }
    }
    setRun({ isRunning: false });
  };
  const press = ({ detail }) => {
    // The second click of a double click does not cancel.
    if (detail > 1) return;
    if (run.isRunning) isOver.current = true;
    else send();
  };
  const failed = lines.filter(({ is }) => is === "failed");
  const save = () => download(new Blob([failedAsCsv(file.head, failed)], { type: "text/csv" }), `failed-${file.name}`);
  return html`<section class="ledger" id="import" aria-label="CSV">
    <p class="hint" id="import-hint">Columns: username, userid and price, optionally timestamp, id and key, as the export writes them. Purchases are written into the store, past the log; <span class="id">management import</span> writes into the log. The same file can be imported again: each line is recorded once.</p>
    <div class="pair">
      <label>CSV file <input type="file" id="import-file" accept=".csv,text/csv" aria-describedby="import-hint" disabled=${run.isRunning} onChange=${choose} /></label>
      <label>or pasted text <textarea id="import-text" rows="3" spellcheck="false" autocomplete="off" disabled=${run.isRunning} onInput=${({ target }) => read("pasted.csv", target.value)}></textarea></label>
    </div>
    <p class="answer ${(file.problem ?? run.problem) ? "bad" : "progress"}" id="import-said" role="status">${file.problem ?? run.problem ?? said(lines, valid, results, run)}</p>
    ${valid.length > 0 && html`<div class="actions">
      <button type="button" id="import-button" class=${run.isRunning && "quiet"} onClick=${press}>${run.isRunning ? "Cancel" : `Import ${counted(valid.length, "line")}`}</button>
      ${results.size > 0 && failed.length > 0 && html`<button type="button" class="link" id="import-save" onClick=${save}>Save the failed lines</button>`}
    </div>`}
    ${lines.length > 0 && html`<${Lines} lines=${lines} />`}
  </section>`;
}

/** What is known of the lines, in words. */
function said(lines, valid, results, { isRunning, sent }) {
  if (lines.length === 0) return "";
  if (isRunning) return `Importing: ${grouped(String(sent))} of ${counted(valid.length, "line")} sent.`;
  const bad = lines.length - valid.length;
  if (results.size === 0) return `${counted(lines.length, "line")}${bad > 0 ? `, ${grouped(String(bad))} with a problem` : ""}. Nothing is sent yet.`;
  const counts = [["recorded", "recorded"], ["before", "recorded before"], ["failed", "failed"], [undefined, "not sent"]];
  const named = counts.map(([which, text]) => [lines.filter(({ is }) => is === which).length, text]).filter(([count]) => count > 0);
  return `${named.map(([count, text]) => `${grouped(String(count))} ${text}`).join(", ")}.`;
}

/** The first of `lines`, and those that have failed. */
function Lines({ lines }) {
  const shown = lines.filter(({ is }, at) => at < SHOWN || is === "failed").slice(0, MAX_SHOWN);
  const row = ({ number, text, purchase, is, reason }) => html`<tr key=${number}>
    <td>${number}</td>
    <td class="who">${purchase ? html`<span class="name">${purchase.username}</span> <small>${purchase.userid} ${purchase.timestamp}</small> <b>${forPeople(purchase.price ?? "")}</b> ${whatOf(purchase)} <small>${purchase.reference}</small>` : text}</td>
    <td class="result ${is === "failed" && "bad"}">${reason ?? WORDS[is]}</td>
  </tr>`;
  return html`<table class="plain lines">
      <thead><tr><th scope="col">Line</th><th scope="col">Purchase</th><th scope="col">Result</th></tr></thead>
      <tbody id="import-lines">${shown.map(row)}</tbody>
    </table>
    ${lines.length > shown.length && html`<p class="note">${counted(lines.length - shown.length, "more line")}.</p>`}`;
}
