// The Markdown of the runbooks: headings, paragraphs, lists, tables, code, and within a line code, bold text and links.

const HEADING = /^#+ +(.*)$/;
const FENCE = "```";
const ITEM = /^(-|\d+\.) +/;
const ANCHOR = /^<a id="[^"]+"><\/a>$/;
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)]+)\)/g;

/** Whether a view of this name is a runbook, or all of them. Alerts and links name it in lower case. */
export const isRunbook = (view) => /^(shop\w+|runbooks)$/i.test(view);

/**
 * The sections of a text: `{anchors, title, blocks}`, one for each heading of any level. A heading that names several
 * alerts, separated by commas, has an anchor for each. The anchors that Markdown needs for that are left out.
 */
export function sectionsOf(text) {
  const sections = [];
  let isCode = false;
  for (const line of text.split("\n")) {
    if (line.trim().startsWith(FENCE)) isCode = !isCode;
    if (!isCode && ANCHOR.test(line)) continue;
    const title = isCode ? undefined : HEADING.exec(line)?.[1];
    if (title === undefined) sections.at(-1)?.lines.push(line);
    else sections.push({ anchors: title.split(", ").map(anchorOf), title, lines: [] });
  }
  return sections.map(({ anchors, title, lines }) => ({ anchors, title, blocks: blocksOf(lines) }));
}

const anchorOf = (title) => title.toLowerCase().replaceAll(" ", "-");

/**
 * The blocks of lines: `{kind: "p", text}`, `{kind: "pre", text}`, `{kind: "table", rows}` with the head as the first row
 * of cells, and `{kind: "ul" | "ol", start, items}`, where each item is a list of blocks.
 */
function blocksOf(lines) {
  const blocks = [];
  let at = 0;
  // The lines from here on for which `isWithin` holds.
  const take = (isWithin) => {
    const from = at;
    while (at < lines.length && isWithin(lines[at])) at += 1;
    return lines.slice(from, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    if (line.trim() === "") {
      at += 1;
    } else if (line.startsWith(FENCE)) {
      at += 1;
      blocks.push({ kind: "pre", text: take((code) => !code.startsWith(FENCE)).join("\n") });
      at += 1;
    } else if (line.startsWith("|")) {
      const [head, , ...rows] = take((row) => row.startsWith("|")).map(cellsOf);
      blocks.push({ kind: "table", rows: [head, ...rows] });
    } else if (ITEM.test(line)) {
      const kind = line.startsWith("-") ? "ul" : "ol";
      const start = kind === "ol" ? Number.parseInt(line, 10) : undefined;
      blocks.push({ kind, start, items: itemsOf(take((part) => isItemOf(kind, part) || part.trim() === "" || part.startsWith(" "))) });
    } else {
      const text = take((part) => part.trim() !== "" && !beginsBlock(part));
      blocks.push({ kind: "p", text: text.map((part) => part.trim()).join(" ") });
    }
  }
  return blocks;
}

const beginsBlock = (line) => line.startsWith(FENCE) || line.startsWith("|") || ITEM.test(line);

const isItemOf = (kind, line) => ITEM.test(line) && line.startsWith("-") === (kind === "ul");

/** The items of a list: the blocks of each. Lines that are indented below an item belong to the item. */
function itemsOf(lines) {
  const items = [];
  for (const line of lines) {
    if (ITEM.test(line)) items.push([line]);
    else items.at(-1).push(line);
  }
  return items.map((item) => {
    const indent = ITEM.exec(item[0])[0].length;
    return blocksOf(item.map((line) => line.slice(indent)));
  });
}

const cellsOf = (row) => row.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

/** A line in parts: texts, and `{code}`, `{bold}` and `{link, to}` of further parts. Only links to runbooks lead somewhere. */
export function partsOf(line) {
  const parts = [];
  let end = 0;
  for (const { 0: all, 1: code, 2: bold, 3: link, 4: to, index } of line.matchAll(INLINE)) {
    parts.push(line.slice(end, index), code ? { code } : bold ? { bold: partsOf(bold) } : { link: partsOf(link), to });
    end = index + all.length;
  }
  return [...parts, line.slice(end)].filter((part) => part !== "");
}
