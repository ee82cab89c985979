// The page of facing: buy, and see what was bought; users and orders.

import { setUpAccounts } from "./accounts.js";
import { health } from "./api.js";
import { setUpBuying } from "./buying.js";
import { byId, repeatedly, say } from "./elements.js";
import { Ledger } from "./ledger.js";

const ledger = new Ledger({ showsEveryone: false });
setUpBuying((purchase) => ledger.bought(purchase));
setUpAccounts();

repeatedly(10_000, async () => {
  const state = byId("state");
  let takes = false;
  try {
    takes = (await health()).kafkaReady === true;
  } catch {
    // Then it takes none.
  }
  state.dataset.well = takes;
  say(state, takes ? "Taking purchases" : "Not taking purchases now");
});
