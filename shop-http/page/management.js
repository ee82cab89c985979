// The page of management: how purchases come from the log into the store, and what is stored; users and orders.

import { setUpAccess } from "./access.js";
import { setUpAccounts } from "./accounts.js";
import { Ledger } from "./ledger.js";
import { setUpPipeline } from "./pipeline.js";

setUpAccess();
setUpPipeline();
new Ledger({ showsEveryone: true });
setUpAccounts();
