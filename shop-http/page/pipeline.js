// For operators: whether the pipeline runs, how far behind it is, and what it could not store.

import { Refusal, health } from "./api.js";
import { byId, make, repeatedly, say, sentence } from "./elements.js";
import { grouped } from "./exact.js";

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const isGiven = (value) => value !== undefined && value !== null;
const number = (value) => (isGiven(value) ? grouped(value) : "unavailable");
const reachable = (isReady) => (isReady ? "reachable" : "unavailable");
/** A value of the ingest of this process, if it runs here. */
const ofIngest = (read) => ({ ingest }) => (ingest ? read(ingest) : "n/a");

const PHASES = { idle: "not started", running: "running", draining: "shutting down", stopped: "stopped" };

/** The gauges: a name, a hint, and the value in the body of `/health`. */
const GAUGES = [
  { id: "lag", name: "Consumer lag", hint: "records in the log that are not stored yet", of: ofIngest(({ lag }) => number(lag)), isMain: true },
  { id: "freshness", name: "Freshness", hint: "maximum age when stored, in the last batch", of: ofIngest(({ freshness_ms: age }) => (isGiven(age) ? duration(age, 1000) : "no batch yet")), isMain: true },
  {
    id: "dead-letters",
    name: "Dead letters",
    hint: "management dlq ls lists them",
    of: ofIngest((ingest) => number(deadLetters(ingest))),
    isBad: ({ ingest }) => deadLetters(ingest) > 0,
    isMain: true,
  },
  {
    id: "phase",
    name: "Ingest",
    of: ({ ingest }) => (ingest ? (isGiven(ingest.stuck) ? "stuck" : (PHASES[ingest.phase] ?? ingest.phase)) : "runs elsewhere"),
    isBad: ({ ingest }) => ingest?.phase === "stopped" || isGiven(ingest?.stuck),
  },
  { id: "log", name: "Log", of: ({ kafkaReady, ingest }) => (!kafkaReady && isOver(ingest) ? "not read" : reachable(kafkaReady)), isBad: ({ kafkaReady }) => !kafkaReady },
  { id: "store", name: "Store", of: ({ mongoReady }) => reachable(mongoReady), isBad: ({ mongoReady }) => !mongoReady },
  { id: "inserted", name: "Stored", hint: "since the start", of: ofIngest(({ inserted }) => number(inserted)) },
  { id: "duplicates", name: "Duplicates", hint: "ignored", of: ofIngest(({ duplicates }) => number(duplicates)) },
  { id: "in-flight", name: "In flight", hint: "batches", of: ofIngest(({ in_flight: batches }) => number(batches)) },
];

/** Shows the state of the pipeline from now on. */
export function setUpPipeline() {
  const shown = GAUGES.map((gauge) => {
    const value = make("dd", { class: "figures", id: gauge.id });
    const hint = gauge.hint ? [make("dd", { class: "hint" }, gauge.hint)] : [];
    const element = make("div", { class: gauge.isMain && "main" }, make("dt", {}, gauge.name), value, ...hint);
    byId("gauges").append(element);
    return { ...gauge, value, element };
  });
  const show = (state, textOf, isBad) => {
    byId("pipeline").dataset.state = state;
    for (const gauge of shown) {
      say(gauge.value, textOf(gauge));
      gauge.element.classList.toggle("bad", isBad(gauge));
    }
  };
  show("loading", () => "…", () => false);
  let answered = null;
  repeatedly(2000, async () => {
    try {
      const answer = await health();
      if (answer.kafkaReady === undefined) throw new Refusal("an access key with the scope operate is required");
      answered = time.format(new Date());
      show("shown", ({ of }) => of(answer), ({ isBad }) => isBad?.(answer) ?? false);
      const problems = problemsOf(answer);
      verdict(problems.length === 0, problems.length === 0 ? "Healthy" : answer.ingest?.phase === "stopped" ? "Stopped" : "Degraded");
      say(byId("problems"), problems.join(" "));
      say(byId("asked"), `As of ${answered}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      show("failed", () => "unavailable", () => false);
      verdict(false, "Unavailable");
      say(byId("problems"), `The state of the pipeline is not known: ${sentence(error.message)} Trying again…`);
      say(byId("asked"), answered ? `Last answer at ${answered}` : "");
    }
  });
}

function verdict(isHealthy, text) {
  byId("state").dataset.state = isHealthy ? "good" : "bad";
  say(byId("state"), text);
}

/** Whether ingest does not read the log, for any reason. */
function isOver(ingest) {
  return ingest !== undefined && ingest.phase !== "running";
}

/** The pending dead letters, or while their number is unknown, those since the start. */
function deadLetters(ingest) {
  return ingest?.dead_letters_waiting ?? ingest?.dead_lettered;
}

/** All problems, in sentences. */
export function problemsOf({ status, kafkaReady, mongoReady, ingest, users, orders }) {
  const problems = [
    ...(kafkaReady || isOver(ingest) ? [] : ["The log is unavailable."]),
    ...(mongoReady ? [] : ["The store is unavailable."]),
    ...problemsOfIngest("Ingest", "", ingest),
    ...problemsOfAccounts("users", users),
    ...problemsOfAccounts("orders", orders),
  ];
  const isReported = ["degraded", "unhealthy"].includes(status);
  return problems.length === 0 && isReported ? [`The service reports that it is ${status}.`] : problems;
}

/** `name` is that of the ingest, `of` says of which records its dead letters are. */
function problemsOfIngest(name, of, ingest) {
  if (!ingest) return [];
  const { phase, waiting_for: waitingFor, stopped_because: why, stuck } = ingest;
  const problems = [];
  if (phase === "stopped") problems.push(why ? `${name} has stopped: ${sentence(why)}` : `${name} has stopped.`);
  else if (phase !== "running") problems.push(`${name} is ${PHASES[phase] ?? phase}.`);
  const waits = Object.entries(waitingFor ?? {}).map(([part, kind]) => `${part} (${kind})`);
  if (waits.length > 0) problems.push(`${name} is retrying, nothing is lost: ${waits.join(", ")}.`);
  if (stuck) {
    const position = `${stuck.topic}, partition ${stuck.partition}, offset ${stuck.offset}`;
    const id = isGiven(stuck.id) ? ` (${stuck.id})` : "";
    const age = isGiven(stuck.age_seconds) ? ` for ${duration(stuck.age_seconds, 1)}` : "";
    const error = isGiven(stuck.error) ? `: ${stuck.error}` : "";
    problems.push(sentence(`${name} is stuck at ${position}${id}${age}${error}`));
  }
  const pending = deadLetters(ingest);
  if (pending > 0) {
    const what = isGiven(ingest.dead_letters_waiting) ? "to be replayed or discarded" : "since the start";
    problems.push(`Dead letters${of} ${what}: ${grouped(pending)}.`);
  }
  return problems;
}

/** What is wrong with users, or with orders, where this process keeps them. */
function problemsOfAccounts(name, accounts) {
  if (!accounts) return [];
  const { store, outbox, outbox_waits_for: why, events } = accounts;
  const problems = problemsOfIngest(`Ingest of events into ${name}`, ` of ${name}`, events);
  if (store === false) problems.push(`The store of ${name} is unavailable.`);
  if (why) problems.push(`Events of ${name} are not published (${why})${isGiven(outbox) ? `, ${grouped(outbox)} in the outbox` : ""}.`);
  return problems;
}

/** A duration in its largest unit; `perSecond` says of how many parts of a second `value` is a number. */
function duration(value, perSecond) {
  const seconds = Number(value) / perSecond;
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"], [0.001, "ms"]];
  const [divisor, unit] = units.find(([divisor]) => seconds >= divisor) ?? units.at(-1);
  return `${Math.floor(seconds / divisor)}\u00a0${unit}`;
}
