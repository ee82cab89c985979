// For operators: whether the pipeline runs, how far behind it is, and what it has put aside.

import { Refusal, health } from "./api.js";
import { byId, make, repeatedly, say } from "./elements.js";
import { grouped } from "./exact.js";

const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const number = (value) => (value === undefined || value === null ? "not known" : grouped(value));

const PHASES = { idle: "not started", running: "running", draining: "shutting down", stopped: "stopped" };

/** What is shown: a name, what it means, and how it is read from what `/health` says. */
const GAUGES = [
  { id: "lag", name: "Lag", hint: "records that wait in the log, of what this process reads", of: ({ ingest }) => number(ingest?.lag), isMain: true },
  { id: "freshness", name: "Freshness", hint: "from bought to stored, at most, in the last batch", of: ({ ingest }) => age(ingest?.freshness_ms), isMain: true },
  {
    id: "dead-letters",
    name: "Dead letters",
    hint: "put aside since the start: management dlq ls",
    of: ({ ingest }) => number(ingest?.dead_lettered),
    isBad: ({ ingest }) => Number(ingest?.dead_lettered ?? 0) > 0,
    isMain: true,
  },
  { id: "phase", name: "Pipeline", of: ({ ingest }) => (ingest ? (PHASES[ingest.phase] ?? ingest.phase) : "runs elsewhere"), isBad: ({ ingest }) => ingest?.phase === "stopped" },
  { id: "log", name: "Log", of: ({ kafkaReady }) => (kafkaReady ? "reachable" : "away"), isBad: ({ kafkaReady }) => !kafkaReady },
  { id: "store", name: "Store", of: ({ mongoReady }) => (mongoReady ? "reachable" : "away"), isBad: ({ mongoReady }) => !mongoReady },
  { id: "inserted", name: "Stored", hint: "since the start", of: ({ ingest }) => number(ingest?.inserted) },
  { id: "duplicates", name: "Came again", hint: "and stayed one", of: ({ ingest }) => number(ingest?.duplicates) },
  { id: "in-flight", name: "On their way", hint: "batches", of: ({ ingest }) => number(ingest?.in_flight) },
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
  repeatedly(2000, async () => {
    try {
      const state = await health();
      for (const { of, isBad, value, element } of shown) {
        say(value, of(state));
        element.classList.toggle("bad", isBad?.(state) ?? false);
      }
      tell(state);
      say(byId("asked"), `As of ${time.format(new Date())}`);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      verdict(false, "Not reachable");
      say(byId("trouble"), `${error.message} The figures are the last ones that it gave.`);
    }
  });
}

function tell({ kafkaReady, mongoReady, ingest }) {
  const waits = Object.entries(ingest?.waiting_for ?? {}).map(([part, kind]) => `${part} (${kind})`);
  const isWell = kafkaReady && mongoReady && waits.length === 0;
  verdict(isWell, isWell ? "All is well" : ingest?.stopped_because ? "Stopped" : "In trouble");
  const waiting = waits.length > 0 ? `Waits and tries again, nothing is lost: ${waits.join(", ")}.` : "";
  say(byId("trouble"), ingest?.stopped_because ?? waiting);
}

function verdict(isWell, text) {
  byId("state").dataset.well = isWell;
  say(byId("state"), text);
}

function age(milliseconds) {
  if (milliseconds === undefined || milliseconds === null) return "not known";
  const seconds = Number(milliseconds) / 1000;
  const units = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"], [0.001, "ms"]];
  const [divisor, unit] = units.find(([divisor]) => seconds >= divisor) ?? units.at(-1);
  return `${Math.floor(seconds / divisor)}\u00a0${unit}`;
}
