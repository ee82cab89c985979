import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { isRunbook, partsOf, sectionsOf } from "../../page/markdown.js";

const TEXT = readFileSync(new URL("../../page/runbooks.txt", import.meta.url), "utf8");

test("sections have paragraphs and lists, whose lines are joined", () => {
  const text = "# All\n\nOne\ntwo.\n\n1. Run `a\n   --b`.\n2. Else\n\nAfter\n\n- x\n- y\n## A b\nText\n";
  assert.deepEqual(sectionsOf(text), [
    { anchor: "all", title: "All", blocks: [{ kind: "p", texts: ["One two."] }, { kind: "ol", texts: ["Run `a --b`.", "Else"] }, { kind: "p", texts: ["After"] }, { kind: "ul", texts: ["x", "y"] }] },
    { anchor: "a-b", title: "A b", blocks: [{ kind: "p", texts: ["Text"] }] },
  ]);
});

test("a line has code, bold text and links", () => {
  assert.deepEqual(partsOf("**No [`x`](#a)** see [b](c.md)."), [{ bold: ["No ", { link: [{ code: "x" }], to: "#a" }] }, " see ", { link: ["b"], to: "c.md" }, "."]);
  assert.deepEqual(partsOf("plain"), ["plain"]);
});

test("every link within the runbooks, and that of each problem, leads to a section", () => {
  const anchors = sectionsOf(TEXT).map(({ anchor }) => anchor);
  const links = [...TEXT.matchAll(/\]\(#([^)]+)\)/g)].map(([, link]) => link);
  const sources = readFileSync(new URL("../../page/health.js", import.meta.url), "utf8") + readFileSync(new URL("../../page/overview.js", import.meta.url), "utf8");
  const named = [...sources.matchAll(/"(Shop[A-Z]\w+)"/g)].map(([, name]) => name.toLowerCase());
  assert.ok(links.length > 20 && named.length > 10, `${links.length} ${named.length}`);
  for (const link of [...links, ...named]) assert.ok(anchors.includes(link) && isRunbook(link), link);
});
