// Signing in, where the service authenticates requests: the page is shown to who has an access key that the service knows.

import { hasKey, needsKey, setHolder, use, whenRefused } from "./access.js";
import { whoami } from "./api.js";
import { byId } from "./elements.js";
import { Loaded, useLoaded } from "./loaded.js";
import { html, useEffect, useRef, useState } from "./preact.js";
import { Field } from "./recording.js";

/** Shows what `children` returns, signed in if that is needed; `purpose` says what the key is for. */
export function SignedIn({ purpose, children }) {
  const [isNeeded, need] = useState(needsKey() || hasKey());
  useEffect(() => isNeeded || whenRefused(() => need(true)), []);
  return isNeeded ? html`<${Identified} purpose=${purpose}>${children}<//>` : children();
}

function Identified({ purpose, children }) {
  const [state, ask] = useLoaded("holder", async () => {
    if (!hasKey()) return { problem: "" };
    const answer = await whoami();
    setHolder(answer.problem === undefined ? answer : null);
    return answer;
  });
  useEffect(() => whenRefused(() => ask()), []);
  const shown = (answer) => (answer.problem === undefined ? children() : html`<${SignIn} purpose=${purpose} problem=${answer.problem} />`);
  const name = state.data?.name;
  useEffect(() => {
    byId("holder").hidden = !name;
    byId("holder-name").textContent = name ?? "";
    byId("sign-out").onclick = () => use(null);
  }, [name]);
  return html`<${Loaded} id="holder-known" state=${state} what="The page">${shown}<//>`;
}

/** Asks for the key. */
function SignIn({ purpose, problem }) {
  const [said, say] = useState(problem);
  const form = useRef(null);
  useEffect(() => {
    form.current.elements.key.focus();
    // The state of a service is for who is signed in.
    byId("state")?.setAttribute("hidden", "");
  }, []);
  const submit = (event) => {
    event.preventDefault();
    const key = form.current.elements.key.value.trim();
    if (key !== "") return use(key);
    say("Enter an access key.");
    form.current.elements.key.focus();
  };
  return html`<section class="slip identify" aria-labelledby="sign-in-title">
    <h2 id="sign-in-title">Sign in</h2>
    <p class="note">${purpose} The operator of this service issues access keys.</p>
    <form id="sign-in" ref=${form} class="recording" novalidate onSubmit=${submit}>
      <${Field} id="access-key" member="key" label="Access key" type="password" autocapitalize="none" spellcheck="false" required problem=${said} />
      <button type="submit" id="sign-in-button">Sign in</button>
    </form>
  </section>`;
}
