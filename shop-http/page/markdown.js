// The Markdown of the runbooks: headings, paragraphs, lists, and within a line code, bold text and links.

const MARK = /^(?:(#+|\d+\.|-) +)?(.*)$/;
const LISTS = { "-": "ul", "#": "h3" };
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)]+)\)/g;

/** Whether a view of this name is a runbook, or all of them. Alerts and links name it in lower case. */
export const isRunbook = (view) => /^(shop\w+|outages|runbooks)$/i.test(view);

/** The sections of a text: `{anchor, title, blocks}`, each block `{kind, texts}` of an element `p`, `ul` or `ol`. */
export function sectionsOf(text) {
  const sections = [];
  let [block, isOpen] = [undefined, false];
  for (const line of text.split("\n")) {
    const [, mark, rest] = MARK.exec(line.trim());
    const kind = mark === undefined ? "p" : (LISTS[mark[0]] ?? "ol");
    if (kind === "h3") sections.push({ anchor: rest.toLowerCase().replaceAll(" ", "-"), title: rest, blocks: [] });
    else if (rest !== "" && isOpen && kind === "p") block.texts.push(`${block.texts.pop()} ${rest}`);
    else if (rest !== "" && isOpen && kind === block.kind) block.texts.push(rest);
    else if (rest !== "") sections.at(-1)?.blocks.push((block = { kind, texts: [rest] }));
    isOpen = rest !== "" && kind !== "h3";
  }
  return sections;
}

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
