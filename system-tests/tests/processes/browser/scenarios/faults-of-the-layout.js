// The fields and buttons that another element covers at any scroll position, the texts that overlap or exceed the page, and
// how much wider than the window the page is.
const isCovered = (one) => {
  const { left, right, top, bottom } = one.getBoundingClientRect();
  const y = (top + bottom) / 2;
  return [left + 2, (left + right) / 2, right - 3].some((x) => !one.contains(document.elementFromPoint(x, y)));
};
const covered = new Set();
const fields = [...document.querySelectorAll("input, button, nav a")].filter((one) => one.checkVisibility());
if (fields.length < 3) return "the page has no fields";
for (const block of ["start", "center", "end"]) {
  for (const one of fields) {
    one.scrollIntoView({ block });
    for (const other of fields) {
      const { top, bottom } = other.getBoundingClientRect();
      const isInSight = top >= 0 && bottom <= innerHeight;
      if (isInSight && isCovered(other)) covered.add(other.id || other.textContent);
    }
  }
}

const boxes = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const one = walker.currentNode;
  const { parentElement: parent } = one;
  if (!one.textContent.trim() || !parent.checkVisibility() || parent.closest(".unseen, option")) continue;
  const range = document.createRange();
  range.selectNodeContents(one);
  for (const { left, right, top, bottom } of range.getClientRects()) boxes.push({ one, left, right, top, bottom });
}
const overlaps = new Set();
const tolerance = 2;
const isBefore = (end, start) => end - tolerance <= start;
boxes.forEach((a, index) => {
  if (a.left < -1 || a.right > innerWidth + 1) overlaps.add(a.one.textContent);
  for (const b of boxes.slice(index + 1)) {
    const isBeside = isBefore(a.right, b.left) || isBefore(b.right, a.left);
    const isAboveOrBelow = isBefore(a.bottom, b.top) || isBefore(b.bottom, a.top);
    if (a.one !== b.one && !isBeside && !isAboveOrBelow) overlaps.add(`${a.one.textContent} | ${b.one.textContent}`);
  }
});

const excess = Math.max(0, document.documentElement.scrollWidth - innerWidth);
return [[...covered], [...overlaps], excess];
