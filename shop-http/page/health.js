// What `/health` says, in words: the readings of each role, and all problems. Each leads into the runbook.

import { grouped } from "./exact.js";
import { sentence } from "./words.js";

const PHASES = { idle: "not started", running: "running", draining: "shutting down", stopped: "stopped" };

const isGiven = (value) => value !== undefined && value !== null;
const number = (value) => (isGiven(value) ? grouped(value) : "unknown");
/** Whether ingest does not read the log, for any reason. */
const isOver = (ingest) => ingest !== undefined && ingest.phase !== "running";
/** The pending dead letters, or while their number is unknown, those since the start. */
const deadLetters = (ingest) => ingest.dead_letters_waiting ?? ingest.dead_lettered;

/** A duration in its largest unit; `perSecond` says of how many parts of a second `value` is a number. */
export function duration(value, perSecond = 1) {
  const seconds = Number(value) / perSecond;
  if (!Number.isFinite(seconds)) return "unlimited";
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"], [0.001, "ms"]];
  const [divisor, unit] = units.find(([divisor]) => seconds >= divisor) ?? units.at(-1);
  return `${grouped(String(Math.floor(seconds / divisor)))}\u00a0${unit}`;
}

/**
 * The readings of a role of purchases, users or orders: `{id, name, hint, value, isBad, isMain, runbook}`. `ingest` is
 * undefined where another process reads the log.
 */
export function readingsOf(ingest, prefix = "") {
  const read = (value) => (ingest ? value(ingest) : "n/a");
  const gaps = ingest?.gaps;
  const stuck = ingest?.stuck;
  return [
    { id: "lag", name: "Consumer lag", hint: "records in the log that are not stored yet", isMain: true, value: read(({ lag }) => number(lag)), runbook: "ShopLagGrowing" },
    { id: "freshness", name: "Freshness", hint: "maximum age when stored, in the last batch", isMain: true, value: read(({ freshness_ms: age }) => (isGiven(age) ? duration(age, 1000) : "no batch yet")), runbook: "ShopLagGrowing" },
    { id: "dead-letters", name: "Dead letters", hint: "to be replayed or discarded", isMain: true, leadsTo: "dead-letters", value: read((ingest) => number(deadLetters(ingest))), isBad: Number(ingest && deadLetters(ingest)) > 0, runbook: prefix ? "ShopEventDeadLetters" : "ShopDeadLettersWaiting" },
    { id: "phase", name: "Ingest", hint: "whether this process reads the log", value: ingest ? (PHASES[ingest.phase] ?? ingest.phase) : "runs elsewhere", isBad: ingest?.phase === "stopped", runbook: "ShopIngestStopped" },
    { id: "stuck", name: "Stuck", hint: "a record that the store does not accept", value: read(() => (stuck ? `${stuck.topic}-${stuck.partition}-${stuck.offset}` : "none")), isBad: isGiven(stuck), runbook: prefix ? "ShopEventsStuck" : "ShopRecordStuck" },
    { id: "gaps", name: "Gaps", hint: "records that the log no longer had", value: read(() => (gaps ? grouped(gaps.records) : "none")), isBad: isGiven(gaps), runbook: "ShopRecordsLost" },
    { id: "in-flight", name: "In flight", hint: "batches", value: read(({ in_flight: batches }) => number(batches)) },
    { id: "inserted", name: "Stored", hint: "since the start", value: read(({ inserted }) => number(inserted)) },
    { id: "duplicates", name: "Duplicates", hint: "ignored, since the start", value: read(({ duplicates }) => number(duplicates)) },
  ].map((reading) => ({ ...reading, id: prefix + reading.id }));
}

/** Whether the store accepts purchases and lists them. */
const hasStore = ({ store, listings }) => store !== false && listings !== false;

/** The readings of log and store of this service. */
export function portsOf({ parts, ingest }) {
  const reachable = (isReady) => (isReady ? "reachable" : "unavailable");
  const isRead = isGiven(parts.log) && !isOver(ingest);
  return [
    { id: "log", name: "Log", hint: "where purchases arrive", value: isRead ? reachable(parts.log) : "not read", isBad: parts.log === false, runbook: "outages" },
    { id: "store", name: "Store", hint: "where purchases are listed from", value: reachable(hasStore(parts)), isBad: !hasStore(parts), runbook: "outages" },
  ];
}

/** The readings of users, or of orders, besides those of their ingest. */
export function entityReadingsOf({ store, outbox, outbox_waits_for: why }, prefix) {
  return [
    { id: `${prefix}store`, name: "Store", hint: "where they are kept", value: store ? "reachable" : "unavailable", isBad: store === false, runbook: "outages" },
    { id: `${prefix}outbox`, name: "Outbox", hint: "events that are not published yet", value: number(outbox), isBad: isGiven(why), runbook: "ShopOutboxStuck" },
  ];
}

/** All problems: `{text, runbook}`. */
export function problemsOf({ status, parts, ingest, users, orders }) {
  const problems = [
    ...(parts.log !== false || isOver(ingest) ? [] : [{ text: "The log is unavailable.", runbook: "outages" }]),
    ...(hasStore(parts) ? [] : [{ text: "The store is unavailable.", runbook: "outages" }]),
    ...problemsOfIngest("Ingest", "", ingest),
    ...problemsOfEntities("users", users),
    ...problemsOfEntities("orders", orders),
  ];
  const isReported = ["degraded", "unhealthy"].includes(status);
  return problems.length === 0 && isReported ? [{ text: `The service reports that it is ${status}.`, runbook: "runbooks" }] : problems;
}

/** `name` is that of the ingest, `of` says of which records its dead letters are. */
function problemsOfIngest(name, of, ingest) {
  if (!ingest) return [];
  const { phase, waiting_for: waitingFor, stopped_because: why, stuck, gaps } = ingest;
  const problems = [];
  if (phase === "stopped") problems.push({ text: why ? `${name} has stopped: ${sentence(why)}` : `${name} has stopped.`, runbook: "ShopIngestStopped" });
  else if (phase !== "running") problems.push({ text: `${name} is ${PHASES[phase] ?? phase}.`, runbook: "ShopNoIngest" });
  const waits = Object.entries(waitingFor ?? {}).map(([part, kind]) => `${part} (${kind})`);
  if (waits.length > 0) problems.push({ text: `${name} is retrying, nothing is lost: ${waits.join(", ")}.`, runbook: of ? "ShopEventsWaiting" : "ShopIngestWaiting" });
  if (stuck) {
    const position = `${stuck.topic}, partition ${stuck.partition}, offset ${stuck.offset}`;
    const id = isGiven(stuck.id) ? ` (${stuck.id})` : "";
    const age = isGiven(stuck.age_seconds) ? ` for ${duration(stuck.age_seconds)}` : "";
    const error = isGiven(stuck.error) ? `: ${stuck.error}` : "";
    problems.push({ text: sentence(`${name} is stuck at ${position}${id}${age}${error}`), runbook: of ? "ShopEventsStuck" : "ShopRecordStuck" });
  }
  if (gaps) problems.push({ text: `Records${of} that the log no longer had when they were to be read: ${grouped(gaps.records)}.`, runbook: "ShopRecordsLost" });
  const pending = deadLetters(ingest);
  if (pending > 0) {
    const what = isGiven(ingest.dead_letters_waiting) ? "to be replayed or discarded" : "since the start";
    problems.push({ text: `Dead letters${of} ${what}: ${grouped(pending)}.`, runbook: of ? "ShopEventDeadLetters" : "ShopDeadLettersWaiting" });
  }
  return problems;
}

/** What is wrong with users, or with orders, where this process keeps them. */
function problemsOfEntities(name, entities) {
  if (!entities) return [];
  const { store, outbox, outbox_waits_for: why, events } = entities;
  const problems = problemsOfIngest(`Ingest of events into ${name}`, ` of ${name}`, events);
  if (store === false) problems.push({ text: `The store of ${name} is unavailable.`, runbook: "outages" });
  const backlog = isGiven(outbox) ? `, ${grouped(outbox)} in the outbox` : "";
  if (why) problems.push({ text: `Events of ${name} are not published (${why})${backlog}.`, runbook: "ShopOutboxStuck" });
  return problems;
}
