import assert from "node:assert/strict";
import { test } from "node:test";

globalThis.location = { pathname: "/", hash: "" };
const { fileInWords, otherwiseInWords, rateInWords } = await import("../../page/importing.js");
const { choicesOrPreset, columnsParameter, forPage, memberOf, namesIn, withChoice } = await import("../../page/mapping.js");

const NAMES = ["Kunde", "username", "Summe, brutto", "Ort"];

test("columns are read as the members of their names, until one is chosen", () => {
  assert.deepEqual(NAMES.map((name) => memberOf(name, {})), ["", "username", "", ""]);
  assert.equal(memberOf("constructor", {}), "");
  assert.equal(columnsParameter(NAMES, {}), undefined);
  const chosen = withChoice(withChoice({}, "Kunde", "userid"), "Summe, brutto", "price");
  assert.equal(columnsParameter(NAMES, chosen), 'userid=Kunde,username=username,"price=Summe, brutto"');
  assert.equal(columnsParameter(['a "b"'], { 'a "b"': "item" }), '"item=a ""b"""');
});

test("what was chosen for the file before is chosen for the columns that are there", () => {
  const chosen = { Kunde: "userid", Ort: "item" };
  assert.equal(columnsParameter(["userid", "username", "price"], chosen), undefined);
  assert.equal(columnsParameter(["userid", "username", "Ort"], chosen), "userid=userid,username=username,item=Ort");
});

test("each member is read from one column", () => {
  const chosen = withChoice({ Kunde: "userid" }, "Ort", "userid");
  assert.deepEqual(NAMES.map((name) => memberOf(name, chosen)), ["", "username", "", "userid"]);
  // Two columns that are not read are no contradiction.
  assert.deepEqual(withChoice({ Ort: "" }, "Kunde", ""), { Ort: "", Kunde: "" });
  // A column that is not read makes the others explicit, so that the service does not refuse it.
  assert.equal(columnsParameter(["userid", "colour"], { colour: "" }), "userid=userid");
  assert.equal(columnsParameter(["Kunde", "colour"], { colour: "" }), undefined);
});

test("the columns are known from the sentence that misses one", () => {
  const missing = 'the column "userid" is missing in the first line, which has: Kunde, Summe, Ort; name it by columns: userid=NAME';
  assert.deepEqual(namesIn(missing), ["Kunde", "Summe", "Ort"]);
  assert.equal(forPage(missing), 'the column "userid" is missing in the first line, which has: Kunde, Summe, Ort. Choose below which column it is.');
  assert.deepEqual(namesIn('the column "Total" of price is missing in the first line, which has: a, b'), ["a", "b"]);
  assert.equal(namesIn("the file is empty: its first line names the columns"), undefined);
});

test("what was found in a file is a sentence", () => {
  const file = { name: "orders.csv", size: 1_234_567 };
  assert.equal(fileInWords(file, ["a", "b"], { delimiter: "tab" }), "The file orders.csv of 1,235 kB has 2 columns, separated by tabs.");
  assert.equal(fileInWords(file, ["a"], null), "The file orders.csv of 1,235 kB has 1 column.");
  assert.equal(fileInWords({ name: "orders.ndjson", size: 10 }, [], {}), "The file orders.ndjson of 1 kB has a purchase in each line.");
});

test("the progress has the rows per second", () => {
  assert.equal(rateInWords("65536", 2000).replace("\u00a0", " "), "65,536 rows in 2 s: 32,768 rows per second.");
  assert.equal(rateInWords("1", 500).replace("\u00a0", " "), "1 row in 500 ms: 2 rows per second.");
});

test("a file that was read with other options is refused in words of the page", () => {
  const problem =
    "this file was imported before with other options: decimal_comma was true, and is not set. Each row that means something else with these options would be stored a second time. Import it with the same options as before, or import it all the same with `--again` or `again=true`";
  assert.equal(
    otherwiseInWords(problem),
    "Nothing was imported: this file was imported before with other options: decimal_comma was true, and is not set. Each row that means something else with these options would be stored a second time. Choose the same options as before, or press Import again.",
  );
});

test("the columns of a preset are shown as chosen, until another one is", () => {
  const preview = { columns: [{ column: "Date", member: "timestamp" }, { column: "Time", member: "timestamp" }, { column: "Fee", member: null }, { column: "Gross", member: "price" }] };
  assert.deepEqual(choicesOrPreset({}, undefined, preview), {});
  assert.deepEqual(choicesOrPreset({}, "paypal", null), {});
  const choices = choicesOrPreset({}, "paypal", preview);
  assert.deepEqual(choices, { Date: "timestamp", Time: "timestamp", Gross: "price" });
  // A time is in two columns, a price in one.
  const other = withChoice(choices, "Fee", "price");
  assert.deepEqual(other, { Date: "timestamp", Time: "timestamp", Fee: "price" });
  assert.equal(columnsParameter(["Date", "Time", "Fee", "Gross"], other), "timestamp=Date,timestamp=Time,price=Fee");
  assert.deepEqual(choicesOrPreset(other, "paypal", preview), other);
});
