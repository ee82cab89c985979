// Who the customer is: a user ID and a name.

import { read, write } from "./storage.js";

const KEPT = "identity";
const EVERYWHERE = "localStorage";

/** The identity of this tab or, where no access key is used, of the last one. */
export function keptIdentity(hasKey) {
  if (hasKey) write(KEPT, null, EVERYWHERE);
  return read(KEPT) ?? read(KEPT, EVERYWHERE);
}

/** Keeps it, or forgets it if it is null. Other tabs get it where no access key is used. */
export function keepIdentity(identity, hasKey) {
  write(KEPT, identity);
  if (!hasKey) write(KEPT, identity, EVERYWHERE);
}
