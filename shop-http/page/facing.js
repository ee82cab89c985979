// The page of facing: buy, and see what was bought; users and orders.

import { setUpAccess } from "./access.js";
import { setUpAccounts } from "./accounts.js";
import { Refusal, health } from "./api.js";
import { setUpBuying } from "./buying.js";
import { byId, repeatedly, say } from "./elements.js";
import { Ledger } from "./ledger.js";

setUpAccess();
const ledger = new Ledger({ showsEveryone: false });
const checkState = repeatedly(10_000, async () => {
  try {
    const { kafkaReady, status } = await health();
    // Without the scope `operate`, there is only the status of the process.
    if (kafkaReady === undefined) showState("unknown", "");
    else if (!kafkaReady) showState("bad", "Purchases are not accepted at the moment");
    else if (status === "degraded") showState("partly", "Accepting purchases; service degraded");
    else showState("good", "Accepting purchases");
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    // An edge that does not publish `/health` says nothing of the service.
    if ([401, 403, 404].includes(error.status)) showState("unknown", "");
    else showState("bad", "Service unavailable");
  }
});
setUpBuying((purchase) => ledger.bought(purchase), checkState);
setUpAccounts();

function showState(state, text) {
  byId("state").dataset.state = state;
  say(byId("state"), text);
}
