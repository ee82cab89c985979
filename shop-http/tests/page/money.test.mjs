import assert from "node:assert/strict";
import { test } from "node:test";

import { inCurrency, money, moneyInShort } from "../../page/money.js";

const plain = (text) => text.replaceAll("\u00a0", " ");

test("money has its currency in the way of the language", () => {
  for (const [text, currency, language, written] of [
    ["29.99", "EUR", "en-US", "€29.99"], ["-9.9", "EUR", "en-US", "-€9.90"], ["29.99", "EUR", "de-DE", "29,99 €"], ["-1234567.5", "EUR", "de-DE", "-1.234.567,50 €"],
    ["5", "JPY", "en-US", "¥5"], ["5", "KWD", "en-US", "KWD 5.000"], ["5", "CHF", "en-US", "CHF 5.00"],
  ]) assert.equal(plain(money(text, currency, language)), written);
});

test("money keeps its digits", () => {
  assert.equal(money("999999999999999.12345678", "EUR", "en-US"), "€999,999,999,999,999.12345678");
  assert.equal(moneyInShort("999999999999999.98500000", "EUR", "en-US"), "€999,999,999,999,999.98");
  assert.deepEqual(["0.5", "1.5", "2.51", "-2.51"].map((text) => moneyInShort(text, "JPY", "en-US")), ["¥0", "¥2", "¥3", "-¥3"]);
});

test("money without a currency is a number", () => {
  assert.equal(money("1234.5", "", "en-US"), "1,234.50");
  assert.equal(moneyInShort("0.125", "", "en-US"), "0.12");
  // A dead letter may have anything.
  assert.equal(money("5", "euro", "en-US"), "5.00");
  assert.equal(money("unknown", "EUR", "en-US"), "unknown");
  assert.deepEqual([inCurrency("Price", "EUR"), inCurrency("Price", "")], ["Price in EUR", "Price"]);
});
