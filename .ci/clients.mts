// Validates prices by Ajv; buys, lists and refunds by openapi-fetch with the types that openapi-typescript has generated.
//
// usage: node clients.mjs DOCUMENT URL
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import createClient from "openapi-fetch";
import type { paths } from "./schema.d.ts";

const [path, baseUrl] = process.argv.slice(2);
const document = JSON.parse(readFileSync(path, "utf8"));
const ajv = new Ajv2020({ strict: false, validateFormats: false });
const schema = (name: string) =>
  ajv.compile({ $ref: `#/components/schemas/${name}`, components: document.components });
const [purchase, order] = [schema("PurchaseRequest"), schema("OrderRequest")];
for (let cents = 1; cents < 10_000; cents += 1) {
  const text = (cents / 100).toFixed(2);
  for (const price of [Number(text), text]) {
    assert(purchase({ username: "ada", userid: "u1", price }), text);
    assert(order({ user_id: 1, product: "tea", quantity: 1, total_price: price }), text);
  }
}
for (const members of [{ price: -0.01 }, { price: "1e2" }, { price: 1, userid: " " }, { price: 1, username: "\u202eada" }]) {
  assert(!purchase({ username: "ada", userid: "u1", ...members }), JSON.stringify(members));
}
assert(!order({ user_id: 1, product: "tea", quantity: 0, total_price: 1 }));

const client = createClient<paths, "application/json">({ baseUrl });
const prices = [0.07, 0.14, 29.99];
let id = "";
for (const price of prices) {
  const { data, error } = await client.POST("/v1/purchases", { body: { userid: "typescript", username: "ada", price } });
  assert(data, JSON.stringify(error));
  id = data.purchase.id;
}
const query = { userid: "typescript", wait_for: id };
const { data, error } = await client.GET("/v1/purchases", { params: { query } });
assert(data, JSON.stringify(error));
assert.deepEqual(data.items.map((item) => item.price), prices.toReversed());
const coffee = { userid: "typescript", username: "ada", price: 5.8, item: "coffee", quantity: 2, reference: "order-8" };
const bought = (await client.POST("/v1/purchases", { body: coffee })).data?.purchase;
assert(bought);
const byReference = { query: { reference: "order-8", wait_for: bought.id } };
const found = (await client.GET("/v1/purchases", { params: byReference })).data?.items;
assert.deepEqual(found?.map(({ item, quantity, id }) => [item, quantity, id]), [["coffee", 2, bought.id]]);
const params = { path: { id: bought.id } };
const refund = await client.POST("/v1/purchases/{id}:refund", { params, body: { amount: 2.9, reason: "cold" } });
assert.deepEqual([refund.data?.purchase.price, refund.data?.purchase.of], [-2.9, bought.id], JSON.stringify(refund.error));
console.log("TypeScript: Ajv accepts every price; the generated client buys, lists and refunds");
