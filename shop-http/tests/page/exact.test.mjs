import assert from "node:assert/strict";
import { test } from "node:test";

import { forPeople, grouped, marksOf, parseExact, percentMore, readAmount, sum } from "../../page/exact.js";
import { moneyInShort } from "../../page/money.js";

test("numbers in JSON keep their digits", () => {
  const read = parseExact('{"price":999999999999999.12345678,"name":"\\"price\\":1.10 \\\\","more":[1e2,null,-0.5]}');
  assert.deepEqual(read, { price: "999999999999999.12345678", name: '"price":1.10 \\', more: ["1e2", null, "-0.5"] });
});

test("sums are exact", () => {
  assert.equal(sum(["0.1", "0.2"]), "0.3");
  assert.equal(sum(["999999999999999.12345678", "0.00000001"]), "999999999999999.12345679");
  assert.equal(sum([]), "0");
  assert.equal(sum(["5", "7"]), "12");
  assert.deepEqual([sum(["0.50", "-1"]), sum(["-0.05"]), sum(["1.5", "-1.5"]), sum(["-5"])], ["-0.50", "-0.05", "0.0", "-5"]);
});

test("amounts are written in the way of the language, with all digits", () => {
  for (const [language, text] of [["en-US", "1,234,567.50"], ["de-DE", "1.234.567,50"], ["de-CH", "1'234'567.50"], ["en-IN", "12,34,567.50"]]) {
    assert.equal(forPeople("1234567.5", language).replace("’", "'"), text, language);
  }
  assert.equal(forPeople("999999999999999.12345678", "de"), "999.999.999.999.999,12345678");
  assert.equal(forPeople("-0.5", "en"), "-0.50");
  assert.equal(forPeople("12", "en"), "12.00");
  assert.equal(forPeople("unknown", "en"), "unknown");
  assert.equal(grouped("12345", "en"), "12,345");
});

test("amounts are rounded to two decimals, half to even", () => {
  for (const [text, short] of [
    ["1278239.55000001", "1,278,239.55"], ["0.005", "0.00"], ["0.015", "0.02"], ["0.025", "0.02"], ["0.0250", "0.02"], ["0.02500001", "0.03"], ["0.00499999", "0.00"],
    ["9.995", "10.00"], ["999.99999999", "1,000.00"], ["0.99500000", "1.00"], ["999999999999999.98500000", "999,999,999,999,999.98"], ["7", "7.00"], ["0.1", "0.10"], ["29.99", "29.99"],
    ["-0.006", "-0.01"], ["unknown", "unknown"],
  ]) assert.equal(moneyInShort(text, "", "en"), short, text);
  assert.equal(moneyInShort("1234.567", "", "de"), "1.234,57");
});

const read = (text, language) => readAmount(text, marksOf(language)).amount;

test("a change is a rounded number of percent", () => {
  assert.deepEqual([["112", "100"], ["1.5", "3.00"], ["100.4", "100"], ["1", "1"], ["0", "0.1"]].map(([now, before]) => percentMore(now, before)), [12, -50, 0, 0, -100]);
  assert.equal(percentMore("30000000000000000.3", "10000000000000000.1"), 200);
  assert.equal(percentMore("1", "0"), null);
  assert.equal(percentMore("1", "-1"), null);
});

test("a comma is a decimal mark as well as a point", () => {
  for (const [text, amount] of [["29.99", "29.99"], ["29,99", "29.99"], [",5", "0.5"], [".1", "0.1"], ["05", "5"], ["1000", "1000"], ["0,12345678", "0.12345678"]]) {
    for (const language of ["en-US", "de-DE", "fr-FR"]) assert.equal(read(text, language), amount, `${text} ${language}`);
  }
});

test("marks for thousands are read where they cannot be decimal marks", () => {
  for (const text of ["1,000.50", "1.000,50", "1 000,50", "1\u202f000.50", "1'000.50"]) assert.equal(read(text, "en-US"), "1000.50", text);
  for (const text of ["1,000,000", "1.000.000", "1 000 000"]) assert.equal(read(text, "de-DE"), "1000000", text);
});

test("an amount of two meanings is not guessed", () => {
  assert.equal(readAmount("1.000", marksOf("de-DE")).problem, "Is this 1000 or 1,000? Enter it without a mark for thousands.");
  assert.equal(readAmount("1,000", marksOf("en-US")).problem, "Is this 1000 or 1.000? Enter it without a mark for thousands.");
  assert.equal(read("1,000", "de-DE"), "1.000");
  assert.equal(read("1.000", "en-US"), "1.000");
});

test("what is no amount is not read", () => {
  for (const text of ["", "x", "-1", "+1", "1e3", "0x10", "5,", "1,2,3", "1.2,3", "12 34", "1,00.5", "1,000.000.000", "."]) {
    const { amount, problem } = readAmount(text, marksOf("en-US"));
    assert.ok(amount === undefined && problem.startsWith("Enter "), text);
  }
});
