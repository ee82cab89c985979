// Elements of the documents, outside of what the views render.

/** The element of this id. */
export const byId = (id) => document.getElementById(id);

/** Sets the text if it differs: screen readers announce changes only. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
