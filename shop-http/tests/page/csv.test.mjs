import assert from "node:assert/strict";
import { test } from "node:test";

import { failedAsCsv, readCsv, valuesOf } from "../../page/csv.js";

test("quoted values have commas and quotes", () => {
  assert.deepEqual(valuesOf('"ada, ""b"" ",u1,,12.50'), ['ada, "b" ', "u1", "", "12.50"]);
  assert.deepEqual([valuesOf(""), valuesOf(","), valuesOf('a"b"c,""'), valuesOf('"a"b,c')], [[""], ["", ""], ['a"b"c', ""], ["ab", "c"]]);
  assert.equal(valuesOf('ada,"u1,5'), null);
});

test("a file of the export is read, with a byte order mark and CRLF", () => {
  const id = "0190163d-8694-739b-aea5-966c26f8ad91";
  const text = `\uFEFFid,username,userid,price,timestamp,item,quantity,currency,reference\r\n${id},'=ada,u1,29.99,2026-03-01T09:00:00.250Z,'=tea,2,,order-7\r\n\r\n507f1f77bcf86cd799439011,"o, '-x",u2,1,2026-03-01T09:00:00Z,,,,\r\n`;
  const { head, lines } = readCsv(text);
  assert.equal(head, "id,username,userid,price,timestamp,item,quantity,currency,reference");
  assert.deepEqual(lines.map(({ number, purchase, problem }) => [number, purchase, problem]), [
    [2, { id, username: "=ada", userid: "u1", price: "29.99", timestamp: "2026-03-01T09:00:00.250Z", item: "=tea", quantity: "2", reference: "order-7" }, undefined],
    [4, { id: "507f1f77bcf86cd799439011", username: "o, '-x", userid: "u2", price: "1", timestamp: "2026-03-01T09:00:00Z" }, undefined],
  ]);
});

test("a line without an ID has a key of its number and its content", () => {
  const keys = (text) => readCsv(text).lines.map(({ purchase }) => purchase.key);
  const text = "username,userid,price\nada,u1,1\nada,u1,1\n";
  const [first, second] = keys(text);
  assert.deepEqual(keys(text.replaceAll("\n", "\r\n")), [first, second]);
  assert.match(first, /^import-2-[0-9a-z]{5,}$/);
  assert.notEqual(first.slice(8), keys("username,userid,price\nada,u1,2")[0].slice(8));
  assert.notEqual(first, second);
  assert.deepEqual(keys("username,userid,price,key,id\nada,u1,1,order-7,\nada,u1,1,,order-8"), ["order-7", "order-8"]);
});

test("problems are those of their lines", () => {
  const problems = (head, ...rows) => readCsv([head, ...rows].join("\n")).lines.map(({ problem }) => problem || "");
  assert.deepEqual(problems("username,userid,price,timestamp", 'ada,"u1,1,', "ada,u1", ",u1,1,", "ada,u1,1;5,", "ada,u1,1e3,", "ada,u1,1,yesterday", "a\uFFFDa,u1,1,"), [
    "A quote is not closed.",
    "It has 2 columns, and the first line 4.",
    "username is missing.",
    "price must be a number such as 29.99.",
    "",
    "timestamp must be such as 2026-03-01T09:00:00Z.",
    "It is not in UTF-8.",
  ]);
  assert.deepEqual(problems("username,userid,price,id,key", "ada,u1,1,a,b"), ["It has an id and a key. Leave one of them."]);
  assert.equal(readCsv("userid,username").problem, "The column price is missing in the first line.");
  assert.ok(readCsv("userid,username,price,colour").problem.startsWith('The column "colour" is unknown.'));
});

test("a refund has a negative price and a reason, an old file of failed lines has none", () => {
  const head = "username,userid,price,of,reason";
  const [refund, negative] = readCsv(`${head}\nada,u1,-9.99,0190163d-8694-739b-aea5-966c26f8ad91,'-broken\nada,u1,-1,,`).lines;
  assert.deepEqual([refund.problem, refund.purchase.price, refund.purchase.reason], [undefined, "-9.99", "-broken"]);
  assert.ok(negative.problem.startsWith("price must be"));
  const [again] = readCsv("line,reason,username,userid,price\n3,bad,ada,u1,5").lines;
  assert.deepEqual([again.problem, again.purchase.reason], [undefined, undefined]);
});

test("a line ends with LF, CR LF or CR, and a column is there once", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const { lines } = readCsv(["username,userid,price", "ada,u1,1", "", "bob,u2,2", ""].join(end));
    assert.deepEqual(lines.map(({ number, purchase }) => [number, purchase.userid]), [[2, "u1"], [4, "u2"]]);
  }
  assert.equal(readCsv("username,userid,price,price").problem, "The column price is there twice. Remove one of them.");
  assert.equal(readCsv(" username,userid,price").problem, "The column username is missing in the first line.");
});

test("the file of failed lines is read again", () => {
  const failed = [{ number: 3, reason: 'price must be "a number".', text: '"ada, b",u1,x' }];
  const text = failedAsCsv("username,userid,price", failed);
  assert.equal(text, 'line,problem,username,userid,price\r\n3,"price must be ""a number"".","ada, b",u1,x\r\n');
  const [line] = readCsv(text.replace(",x", ",5")).lines;
  assert.deepEqual([line.problem, line.purchase.username, line.purchase.price], [undefined, "ada, b", "5"]);
});
