// The user of management, made when the database begins: it may use its own database and nothing else.
db.getSiblingDB("admin").createUser({
  user: "shop",
  pwd: require("fs").readFileSync("/run/secrets/mongodb_password", "utf8").trim(),
  roles: [{ role: "readWrite", db: "purchases" }],
});
