// Creates the user of management when the volume is initialized, with access to its own database only.
const pwd = require("fs").readFileSync("/run/secrets/mongodb_password", "utf8").trim();
db.getSiblingDB("admin").createUser({ user: "shop", pwd, roles: [{ role: "readWrite", db: "purchases" }] });
