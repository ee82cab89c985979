// What `/health` says, in words: what is wrong, by cause, each with one action and its runbook, and the readings of each role.

import { grouped } from "./exact.js";
import { counted, sentence } from "./words.js";

const PHASES = { idle: "not started", running: "running", standby: "on standby", draining: "shutting down", stopped: "stopped" };
/** What ingest does with the log. */
const LOG_PARTS = { source: "reading", commit: "committing", dead_letters: "writing dead letters" };
/** In `/health`, another producer's transaction that is open for longer counts as degraded. */
const MAX_TRANSACTION_SECONDS = 60;

const list = new Intl.ListFormat("en-GB");
const isGiven = (value) => value !== undefined && value !== null;
const number = (value) => (isGiven(value) ? grouped(value) : "unknown");
/** The pending dead letters, or while their number is unknown, those since the start. */
const deadLetters = (ingest) => ingest?.dead_letters_waiting ?? ingest?.dead_lettered ?? 0;

/** Whether the service needs an operator, as it says itself. */
export const isDegraded = ({ status, parts }) => ["degraded", "unhealthy"].includes(status) || Object.values(parts).includes(false);

/**
 * The roles of the service: `{name, hasStore, ingest, waits, log, outbox, outboxWaitsFor}`; `waits` are the failing parts of
 * ingest, and `log` is what the `topics` of the log say, if they are known.
 */
export function rolesOf({ parts, ingest, users, orders }, topics) {
  const log = unreadOf(topics);
  const role = (name, hasStore, ingest, rest) => ({ name, hasStore: hasStore && !ingest?.waiting_for?.store, ingest, waits: ingest?.waiting_for ?? {}, log, ...rest });
  const entities = Object.entries({ users, orders }).filter(([, entity]) => entity);
  return [
    ...(ingest || "listings" in parts ? [role("purchases", parts.store !== false && parts.listings !== false, ingest)] : []),
    ...entities.map(([name, { store, events, outbox, outbox_waits_for: outboxWaitsFor }]) => role(name, store, events, { outbox, outboxWaitsFor })),
  ];
}

/**
 * What ingest has not read of the log: `{oldestUnread, unread}`, the age of the oldest record in seconds and the number of
 * records. Which topic is of which role is not known here, so the number is that of a single topic.
 */
function unreadOf(topics = []) {
  const ages = topics.map(({ oldestUnread }) => oldestUnread);
  if (ages.length === 0 || !ages.every(isGiven)) return undefined;
  const oldestUnread = Math.max(...ages);
  return { oldestUnread, unread: oldestUnread === 0 ? 0 : topics.length === 1 ? topics[0].unread : undefined };
}

/** The records of a role that are not stored yet. On standby, ingest itself does not know them, but the log does. */
const lagOf = ({ ingest, log }) => ingest?.lag ?? log?.unread;

/** A duration in its largest unit; `perSecond` says of how many parts of a second `value` is a number. */
export function duration(value, perSecond = 1) {
  const seconds = Number(value) / perSecond;
  if (!Number.isFinite(seconds)) return "unlimited";
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"], [0.001, "ms"]];
  const [divisor, unit] = units.find(([divisor]) => seconds >= divisor) ?? units.at(-1);
  return `${grouped(String(Math.floor(seconds / divisor)))}\u00a0${unit}`;
}

/** The readings of a role: `{id, name, hint, value, isMain, leadsTo}`. It has no `ingest` where another process reads the log. */
export function readingsOf(role) {
  const { name, ingest, outbox } = role;
  const prefix = name === "purchases" ? "" : `${name}-`;
  const lag = lagOf(role);
  const read = (value) => (ingest ? value(ingest) : "n/a");
  return [
    { id: "lag", name: "Consumer lag", hint: "records in the log that are not stored yet", isMain: true, value: isGiven(lag) ? grouped(String(lag)) : read(() => "unknown") },
    { id: "freshness", name: "Freshness", isMain: true, ...freshnessOf(role) },
    { id: "dead-letters", name: "Dead letters", hint: "to be replayed or discarded", isMain: true, leadsTo: "dead-letters", value: read((ingest) => number(deadLetters(ingest))) },
    ...(outbox === undefined ? [] : [{ id: "outbox", name: "Outbox", hint: "events that are not published yet", value: number(outbox) }]),
    { id: "phase", name: "Ingest", hint: "whether this process reads the log", value: ingest ? (PHASES[ingest.phase] ?? ingest.phase) : "runs elsewhere" },
    { id: "in-flight", name: "In flight", hint: "batches", value: read(({ in_flight: batches }) => number(batches)) },
    { id: "inserted", name: "Stored", hint: "by this process, since its start", value: read(({ inserted }) => number(inserted)) },
    { id: "duplicates", name: "Duplicates", hint: "ignored, since the start", value: read(({ duplicates }) => number(duplicates)) },
  ].map((reading) => ({ ...reading, id: prefix + reading.id }));
}

/** How fresh the store is, by the last batch of this process, or by the log where another process reads it. */
function freshnessOf({ ingest, log }) {
  const age = ingest?.freshness_ms;
  const ofBatch = { hint: "maximum time in the log until stored, in the last batch" };
  if (isGiven(age)) return { ...ofBatch, value: duration(age, 1000) };
  if (log === undefined || ingest?.phase === "running") return { ...ofBatch, value: ingest ? "no batch yet" : "n/a" };
  const value = log.oldestUnread === 0 ? "up to date" : duration(log.oldestUnread);
  return { hint: "how long the oldest record in the log waits for another process, which stores it", value };
}

/** What roles wait for, in a few words. */
export function waitingOf(roles) {
  const waiting = roles.reduce((sum, role) => sum + Number(lagOf(role) ?? 0) + Number(role.outbox ?? 0), 0);
  if (waiting > 0) return `${counted(waiting, "record")} on the way`;
  if (roles.every((role) => isGiven(lagOf(role)))) return "nothing waits";
  const oldest = Math.max(...roles.map(({ log }) => log?.oldestUnread ?? 0));
  return oldest > 0 ? `the oldest record on the way is ${duration(oldest)} old` : "the lag is unknown here";
}

/** What is wrong, one for each cause: `{text, action, leadsTo, runbook, isBad}`. Dead letters wait for a decision, but are not bad. */
export function problemsOf(answer) {
  const roles = rolesOf(answer);
  const problems = [...problemsOfStore(roles), ...problemsOfLog(roles), ...roles.flatMap(problemsOfIngest), ...problemsOfService(answer), ...lossesOf(roles)];
  if (problems.length === 0 && isDegraded(answer)) problems.push({ text: `The service reports that it is ${answer.status}.`, action: "Look for the cause in its log.", runbook: "ShopDependencyDown" });
  return [...problems.map((problem) => ({ ...problem, isBad: true })), ...decisionsOf(roles)];
}

/** The names of these of the `roles`, unless they are all. */
const ofThese = (these, roles) => (these.length === roles.length ? "" : ` of ${list.format(these.map(({ name }) => name))}`);

function problemsOfStore(roles) {
  const failing = roles.filter(({ hasStore }) => !hasStore);
  if (failing.length === 0) return [];
  const why = failing.map(({ waits }) => waits.store).find((kind) => isGiven(kind) && kind !== "unavailable");
  const text = `The store${ofThese(failing, roles)} is unavailable${why ? ` (${why})` : ""}: records wait in the log until it is back.`;
  return [{ text, action: "Check the database server and its disk.", runbook: failing[0].name === "purchases" ? "ShopIngestWaiting" : "ShopEventsWaiting" }];
}

/** The outbox cannot be read while its store is unavailable, and not be published while the log is. */
function problemsOfLog(roles) {
  const failing = roles.filter(({ waits }) => Object.keys(LOG_PARTS).some((part) => waits[part]));
  const unpublished = roles.filter(({ hasStore, outboxWaitsFor }) => hasStore && outboxWaitsFor);
  if (failing.length > 0) {
    const parts = failing.flatMap(({ waits }) => Object.entries(LOG_PARTS).flatMap(([part, doing]) => (waits[part] ? [`${doing} (${waits[part]})`] : [])));
    const text = `The log${ofThese(failing, roles)} fails: ${[...new Set(parts)].join(", ")}. Ingest retries.`;
    return [{ text, action: "Check the brokers and the rights of this service.", runbook: failing[0].name === "purchases" ? "ShopIngestWaiting" : "ShopEventsWaiting" }];
  }
  if (unpublished.length === 0) return [];
  const text = `Events of ${list.format(unpublished.map(({ name }) => name))} are not published (${unpublished[0].outboxWaitsFor}): they wait in the outbox.`;
  return [{ text, action: "Check the brokers and the topics of events.", runbook: "ShopOutboxStuck" }];
}

/** What is wrong with the ingest of one role alone. */
function problemsOfIngest({ name, ingest }) {
  if (!ingest) return [];
  const { phase, stopped_because: why, stuck } = ingest;
  const problems = [];
  const subject = `Ingest of ${name === "purchases" ? name : `events into ${name}`}`;
  if (phase === "stopped") problems.push({ text: sentence(`${subject} has stopped${why ? `: ${why}` : ""}`), action: "Remove the cause, then restart the process.", runbook: "ShopIngestStopped" });
  else if (!["running", "standby"].includes(phase)) problems.push({ text: `${subject} is ${PHASES[phase] ?? phase}.`, action: "Check that the process keeps running.", runbook: "ShopNoIngest" });
  if (stuck) {
    const position = `${stuck.topic}-${stuck.partition}-${stuck.offset}`;
    const id = isGiven(stuck.id) ? ` (${stuck.id})` : "";
    const age = isGiven(stuck.age_seconds) ? ` for ${duration(stuck.age_seconds)}` : "";
    const text = sentence(`${subject} is stuck at ${position}${id}${age}: ${stuck.detail ?? stuck.error}`);
    problems.push({ text, action: "Remove what the error names, or park the record.", runbook: name === "purchases" ? "ShopStoreRejectsRecord" : "ShopEventsStuck" });
  }
  return problems;
}

/** The runbooks of what a service has noticed about its parts, by the name of the reason. */
const REASON_RUNBOOKS = { unread: "ShopNoIngest", writes: "ShopBuysFailing" };

/** What the service has noticed about the parts that do not work. */
function problemsOfParts({ parts, reasons = {} }) {
  const failing = Object.entries(reasons).filter(([part]) => parts[part] === false);
  return failing.flatMap(([part, texts]) =>
    Object.entries(texts).map(([name, text]) => ({ text: `${part}: ${text}.`, action: "See what to do about it.", runbook: REASON_RUNBOOKS[name] ?? "ShopDependencyDown" })),
  );
}

/** What is wrong besides stores, logs and records. */
function problemsOfService({ ingest, at, ...answer }) {
  const problems = problemsOfParts(answer);
  const open = ingest?.open_transaction_seconds;
  if (open >= MAX_TRANSACTION_SECONDS) problems.push({ text: `Another producer's transaction has been open for ${duration(open)}: records behind it wait.`, action: "End that producer or its transaction.", runbook: "ShopLagStuck" });
  for (const [what, { failing, not_after: end }] of Object.entries(answer).filter(([, part]) => isGiven(part?.age_seconds))) {
    if (end && Date.parse(end) < at) problems.push({ text: `The ${what} has expired.`, action: "Replace its file: no restart is needed.", runbook: "ShopCertificateExpired" });
    else if (failing) problems.push({ text: `The ${what.replace("_", " ")} cannot be read again: what was read before stays in use.`, action: "Correct its file or address.", runbook: "ShopReloadFailing" });
  }
  const { unavailable_partitions: unavailable, lost_acknowledgements: lost, files, currency } = answer;
  for (const file of files ?? []) problems.push({ text: sentence(file), action: "See what to do with a file that was copied, damaged or overwritten.", runbook: "ShopDependencyDown" });
  if (currency) problems.push({ text: `Purchases are refused, or some of them: ${currency}.`, action: "Compare SHOP_CURRENCY with the store.", runbook: "ShopDependencyDown" });
  if (unavailable) problems.push({ text: `Partitions take no records: ${list.format(unavailable)}. Purchases of their users fail.`, action: "Check the brokers that lead them.", runbook: "ShopPartitionsUnavailable" });
  if (lost) {
    const records = lost.reduce((sum, { count }) => sum + count, 0);
    problems.push({ text: `The log has lost ${grouped(records)} records that it had acknowledged.`, action: "See how to find them.", runbook: "ShopAcknowledgedLost" });
  }
  return problems;
}

/** How many of each role, in words. */
const perRole = (counts) => list.format(counts.map(([name, count]) => `${grouped(count)} of ${name}`));

function lossesOf(roles) {
  const lost = roles.filter(({ ingest }) => ingest?.gaps).map(({ name, ingest }) => [name, ingest.gaps.records]);
  if (lost.length === 0) return [];
  const text = `Records are lost, ${perRole(lost)}: the log no longer had them when ingest was about to read them.`;
  return [{ text, action: "See which ones", leadsTo: "dead-letters", runbook: "ShopRecordsLost" }];
}

/** What waits for a decision: refunds without a purchase, and dead letters. */
function decisionsOf(roles) {
  const waiting = roles.map(({ ingest }) => ingest?.waiting_refunds).find(isGiven);
  const decisions = [];
  if (waiting) {
    const since = isGiven(waiting.oldest) ? `, the oldest of ${waiting.oldest}` : "";
    const text = `${grouped(waiting.count)} refunds wait for a purchase that is not in the store${since}.`;
    decisions.push({ text, action: "Import the purchases that are missing.", runbook: "ShopRefundsWaiting", isBad: false });
  }
  return [...decisions, ...deadLetterDecisions(roles)];
}

function deadLetterDecisions(roles) {
  const pending = roles.map(({ name, ingest }) => [name, deadLetters(ingest)]).filter(([, count]) => Number(count) > 0);
  if (pending.length === 0) return [];
  const runbook = pending[0][0] === "purchases" ? "ShopDeadLettersWaiting" : "ShopEventDeadLetters";
  return [{ text: `Dead letters wait for a decision: ${perRole(pending)}.`, action: "Replay or discard them", leadsTo: "dead-letters", runbook, isBad: false }];
}
