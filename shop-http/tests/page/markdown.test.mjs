import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { isRunbook, partsOf, sectionsOf } from "../../page/markdown.js";

const TEXT = readFileSync(new URL("../../page/runbooks.txt", import.meta.url), "utf8");

const paragraph = (text) => ({ kind: "p", text });

test("sections have paragraphs and lists, whose lines are joined", () => {
  const text = "# All\n\nOne\ntwo.\n\n1. Run `a\n   --b`.\n2. Else\n\nAfter\n- x\n- y\n## A b\nText\n";
  assert.deepEqual(sectionsOf(text), [
    {
      anchors: ["all"],
      title: "All",
      blocks: [
        paragraph("One two."),
        { kind: "ol", start: 1, items: [[paragraph("Run `a --b`.")], [paragraph("Else")]] },
        paragraph("After"),
        { kind: "ul", start: undefined, items: [[paragraph("x")], [paragraph("y")]] },
      ],
    },
    { anchors: ["a-b"], title: "A b", blocks: [paragraph("Text")] },
  ]);
});

test("a section of several alerts is found by the name of each", () => {
  const text = '# All\nOne\n\n<a id="shopa"></a>\n<a id="shopb"></a>\n\n## ShopA, ShopB\nText\n';
  assert.deepEqual(sectionsOf(text), [
    { anchors: ["all"], title: "All", blocks: [paragraph("One")] },
    { anchors: ["shopa", "shopb"], title: "ShopA, ShopB", blocks: [paragraph("Text")] },
  ]);
});

test("an item holds a list, code and what else is indented below it", () => {
  const text = "# A\n1. One:\n   - x\n     y\n   - z\n\n   ```sh\n   # a\n   b\n   ```\n\n2. Two\n";
  const [{ blocks }] = sectionsOf(text);
  const below = [{ kind: "ul", start: undefined, items: [[paragraph("x y")], [paragraph("z")]] }, { kind: "pre", text: "# a\nb" }];
  assert.deepEqual(blocks, [{ kind: "ol", start: 1, items: [[paragraph("One:"), ...below], [paragraph("Two")]] }]);
});

test("code and tables are kept as they are", () => {
  const [{ blocks }] = sectionsOf("# A\n```sh\n# not a heading\n\n| x |\n```\n| a | `b` |\n|---|---|\n| 1 \\| 2 | 3 |\n");
  assert.deepEqual(blocks, [
    { kind: "pre", text: "# not a heading\n\n| x |" },
    { kind: "table", rows: [["a", "`b`"], ["1 | 2", "3"]] },
  ]);
});

test("a line has code, bold text and links", () => {
  assert.deepEqual(partsOf("**No [`x`](#a)** see [b](c.md)."), [{ bold: ["No ", { link: [{ code: "x" }], to: "#a" }] }, " see ", { link: ["b"], to: "c.md" }, "."]);
  assert.deepEqual(partsOf("plain"), ["plain"]);
});

test("every link within the runbooks, and that of each problem, leads to a section", () => {
  const anchors = sectionsOf(TEXT).flatMap(({ anchors }) => anchors);
  const links = [...TEXT.matchAll(/\]\(#([^)]+)\)/g)].map(([, link]) => link);
  const sources = readFileSync(new URL("../../page/health.js", import.meta.url), "utf8") + readFileSync(new URL("../../page/overview.js", import.meta.url), "utf8");
  const named = [...sources.matchAll(/"(Shop[A-Z]\w+)"/g)].map(([, name]) => name.toLowerCase());
  assert.ok(links.length > 20 && named.length > 10, `${links.length} ${named.length}`);
  for (const link of [...links, ...named]) assert.ok(anchors.includes(link) && isRunbook(link), link);
});
