// Elements made of values. Text of users is added as text, never as HTML.

/** The element of this id. */
export const byId = (id) => document.getElementById(id);

/** A new element with attributes and children; a child that is no element is text. */
export function make(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same within an SVG. */
export function draw(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Sets the text if it differs: screen readers announce changes only. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** `text` with a mark at its end. */
export function sentence(text) {
  const trimmed = text.trim();
  return /[.!?…]$/.test(trimmed) ? trimmed : `${trimmed}.`;
}

/**
 * Runs `task` every `milliseconds`, never concurrently, and not while the page is hidden. Runs it at once when the page
 * is shown again. Returns a function that runs it at once.
 */
export function repeatedly(milliseconds, task) {
  let timer;
  let isRunning = false;
  const run = async () => {
    clearTimeout(timer);
    if (document.hidden || isRunning) return;
    isRunning = true;
    try {
      await task();
    } finally {
      isRunning = false;
      timer = setTimeout(run, milliseconds);
    }
  };
  document.addEventListener("visibilitychange", run);
  run();
  return run;
}
