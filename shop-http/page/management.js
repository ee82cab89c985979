// The console of management, for operators: views with addresses of their own.

import { may } from "./access.js";
import { addressOf, useAddress } from "./address.js";
import { Refusal, health, metrics, paths } from "./api.js";
import { byId, say } from "./elements.js";
import { Entities } from "./entities.js";
import { isDegraded } from "./health.js";
import { Loaded, useLoaded } from "./loaded.js";
import { isRunbook } from "./markdown.js";
import { samplesOf, topicsOf } from "./metrics.js";
import { Overview } from "./overview.js";
import { html, render, useEffect, useRef } from "./preact.js";
import { AnyPurchases } from "./anypurchases.js";
import { Purchase } from "./purchase.js";
import { Runbook } from "./runbook.js";
import { SignedIn } from "./signin.js";

const HEALTH_INTERVAL = 2000;
const METRICS_INTERVAL = 10_000;
const NONE = { title: "No view", show: () => html`<p class="notice">Your access key opens no view of this console. It needs the scope observe, or purchases:read:any to list the purchases of one user at a time.</p>` };

/** A view whose module is loaded when it is first shown. */
const later = (name, load) => (props) => {
  const [state] = useLoaded(name, async () => {
    const module = await load().catch(() => Promise.reject(new Refusal("The service cannot be reached.")));
    return { View: module[name] };
  });
  return html`<${Loaded} id="view" state=${state} what="The view">${({ View }) => html`<${View} ...${props} />`}<//>`;
};
const DeadLetters = later("DeadLetters", () => import("./deadletters.js"));
const Importing = later("Importing", () => import("./importing.js"));

function Console() {
  const [{ view, params }] = useAddress();
  const observes = may("observe");
  const [state] = useLoaded("health", async () => {
    if (!observes) return null;
    const answer = { ...(await health()), at: Date.now() };
    return answer;
  }, observes && HEALTH_INTERVAL);
  const [topics] = useLoaded("metrics", async () => {
    const topics = observes ? topicsOf(samplesOf(await metrics())) : [];
    return topics.length === 0 ? null : topics;
  }, observes && METRICS_INTERVAL);
  const [hour] = useLoaded("hour", async () => (observes ? ((await health({ history: true })).history ?? null) : null), observes && METRICS_INTERVAL);
  const [served] = useLoaded("paths", paths);
  const serves = (path) => served.is !== "shown" || served.data.has(path);
  const lists = serves("/v1/purchases") && (may("list_any_user") || may("list_everyone"));
  const all = {
    overview: { title: "Overview", isHere: observes, show: () => html`<${Overview} health=${state} topics=${topics} hour=${hour} />` },
    purchases: { title: "Purchases", isHere: lists, show: () => html`<${AnyPurchases} params=${params} />` },
    purchase: { title: "Purchase", isOf: "purchases", isHere: lists, show: () => html`<${Purchase} key=${params.id} id=${params.id} refunds=${serves("/v1/purchases/{id}:refund") && may("operate")} />` },
    "dead-letters": { title: "Dead letters", isHere: serves("/v1/dead-letters") && observes, show: () => html`<${DeadLetters} params=${params} topics=${topics} />` },
    runbooks: { title: "Runbook", isOf: "overview", isHere: true, show: () => html`<${Runbook} name=${view} />` },
    entities: { title: "Users and orders", isHere: serves("/v1/users") || serves("/v1/orders"), show: () => html`<${Entities} state=${served} params=${params} />` },
    import: { title: "Import", isHere: serves("/v1/purchases:import") && may("operate"), show: () => html`<${Importing} />` },
  };
  // Those of the roles of this service, and of the key.
  const views = Object.fromEntries(Object.entries(all).filter(([, { isHere }]) => isHere));
  const asked = isRunbook(view) ? "runbooks" : view;
  const known = Object.hasOwn(views, asked) ? asked : Object.keys(views).find((name) => !views[name].isOf);
  const { title, show, isOf } = views[known] ?? NONE;
  const heading = useRef(null);
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = `${title} · Purchases: management`;
    // Another view is where reading goes on.
    if (!isFirst.current) heading.current.focus();
    isFirst.current = false;
  }, [view]);
  useEffect(() => showVerdict(state), [state]);
  const link = ([name, { title }]) => html`<li><a href=${addressOf(name)} aria-current=${name === known ? "page" : name === isOf ? "true" : undefined}>${title}</a></li>`;
  return html`<nav class="views" aria-label="Views"><ul>${Object.entries(views).filter(([, { isOf }]) => !isOf).map(link)}</ul></nav>
    <h2 class="title" tabindex="-1" ref=${heading}>${title}</h2>
    ${show()}`;
}

/** The state of the service in a word, in the head of the page. */
function showVerdict({ is, data, problem }) {
  // Who may not observe the service sees no state.
  byId("state").hidden = is === "empty";
  if (is === "empty") return;
  const isHealthy = is === "shown" && !problem && !isDegraded(data);
  const words = is === "loading" ? "Loading…" : is !== "shown" || problem ? "Unavailable" : data.ingest?.phase === "stopped" ? "Stopped" : isHealthy ? "Healthy" : "Degraded";
  byId("state").dataset.state = is === "loading" ? "unknown" : isHealthy ? "good" : "bad";
  say(byId("state"), words);
}

const PURPOSE = "This console is for operators. A key with the scope observe shows everything, and one with operate can also change it.";
render(html`<${SignedIn} purpose=${PURPOSE}>${() => html`<${Console} />`}<//>`, document.querySelector("main"));
