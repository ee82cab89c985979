// An input that shows what the address has.

import { html, useLayoutEffect, useRef } from "./preact.js";

/**
 * An `input` with these attributes. It gets `value` when that changes, and not whenever the view is drawn: what is typed meanwhile
 * stays.
 */
export function Input({ value, ...attributes }) {
  const input = useRef(null);
  useLayoutEffect(() => void (input.current.value = value), [value]);
  return html`<input ref=${input} ...${attributes} />`;
}
