// The console of management, for operators: views with addresses of their own.

import { setUpAccess } from "./access.js";
import { addressOf, useAddress } from "./address.js";
import { Refusal, health, metrics, paths } from "./api.js";
import { DeadLetters } from "./deadletters.js";
import { byId, say } from "./elements.js";
import { Entities } from "./entities.js";
import { problemsOf } from "./health.js";
import { withSample } from "./history.js";
import { useLoaded } from "./loaded.js";
import { samplesOf, topicsOf } from "./metrics.js";
import { Overview } from "./overview.js";
import { html, render, useEffect, useRef, useState } from "./preact.js";
import { AnyPurchases } from "./anypurchases.js";
import { Purchase } from "./purchase.js";

const HEALTH_INTERVAL = 2000;
const METRICS_INTERVAL = 10_000;

function Console() {
  const [{ view, params }] = useAddress();
  const [samples, setSamples] = useState([]);
  const [state] = useLoaded("health", async () => {
    const answer = { ...(await health()), at: Date.now() };
    if (answer.parts === undefined) throw new Refusal("An access key with the scope operate is required.", { status: 403 });
    setSamples((samples) => withSample(samples, sampleOf(answer)));
    return answer;
  }, HEALTH_INTERVAL);
  const [topics] = useLoaded("metrics", async () => {
    const topics = topicsOf(samplesOf(await metrics()));
    return topics.length === 0 ? null : topics;
  }, METRICS_INTERVAL);
  const [served] = useLoaded("paths", paths);
  const views = {
    overview: { title: "Overview", show: () => html`<${Overview} health=${state} topics=${topics} samples=${samples} />` },
    purchases: { title: "Purchases", show: () => html`<${AnyPurchases} params=${params} />` },
    purchase: { title: "Purchase", isOf: "purchases", show: () => html`<${Purchase} key=${params.id} id=${params.id} />` },
    "dead-letters": { title: "Dead letters", show: () => html`<${DeadLetters} params=${params} topics=${topics} />` },
    entities: { title: "Users and orders", show: () => html`<${Entities} state=${served} params=${params} />` },
  };
  const known = Object.hasOwn(views, view) ? view : "overview";
  const { title, show, isOf } = views[known];
  const heading = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${title} · Purchases: management`;
    // Another view is where reading goes on.
    if (!isFirst.current) heading.current.focus();
    isFirst.current = false;
  }, [known]);
  useEffect(() => showVerdict(state), [state]);
  const link = ([name, { title }]) => html`<li><a href=${addressOf(name)} aria-current=${name === known ? "page" : name === isOf ? "true" : undefined}>${title}</a></li>`;
  return html`<nav class="views" aria-label="Views"><ul>${Object.entries(views).filter(([, { isOf }]) => !isOf).map(link)}</ul></nav>
    <h2 class="title" tabindex="-1" ref=${heading}>${title}</h2>
    ${show()}`;
}

/** What is drawn of an answer over time. */
function sampleOf({ at, ingest = {} }) {
  const readings = { lag: ingest.lag, freshness: ingest.freshness_ms, deadLetters: ingest.dead_letters_waiting ?? ingest.dead_lettered };
  const known = Object.entries(readings).filter(([, value]) => value !== undefined);
  return { at, ...Object.fromEntries(known.map(([name, value]) => [name, Number(value)])) };
}

/** The state of the service in a word, in the head of the page. */
function showVerdict({ is, data, problem }) {
  const isHealthy = is === "shown" && !problem && problemsOf(data).length === 0;
  const words = is === "loading" ? "Loading…" : is !== "shown" || problem ? "Unavailable" : data.ingest?.phase === "stopped" ? "Stopped" : isHealthy ? "Healthy" : "Degraded";
  byId("state").dataset.state = is === "loading" ? "unknown" : isHealthy ? "good" : "bad";
  say(byId("state"), words);
}

setUpAccess();
render(html`<${Console} />`, document.querySelector("main"));
