// The page of management: how purchases come from the log into the store, and what is stored; users and orders.

import { setUpAccounts } from "./accounts.js";
import { Ledger } from "./ledger.js";
import { setUpPipeline } from "./pipeline.js";

setUpPipeline();
new Ledger({ showsEveryone: true });
setUpAccounts();
