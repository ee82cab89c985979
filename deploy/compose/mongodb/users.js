// Creates the users of the services when the volume is initialized. Each has access to its own databases only.
const readWrite = (...databases) => databases.map((db) => ({ role: "readWrite", db }));
const users = [
  ["shop", "mongodb_password", readWrite("purchases", "users_db", "orders_db")],
  ["shop-users", "mongodb_users_password", readWrite("users_db")],
  ["shop-orders", "mongodb_orders_password", readWrite("orders_db")],
];
for (const [user, file, roles] of users) {
  const pwd = require("fs").readFileSync(`/run/secrets/${file}`, "utf8").trim();
  db.getSiblingDB("admin").createUser({ user, pwd, roles });
}
