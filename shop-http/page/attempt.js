// An attempt to record something, stored so that a reload keeps its key: each thing has one key, however often it is
// sent, and is recorded once.

import { read, write } from "./storage.js";

export class Attempt {
  #name;

  constructor(thing) {
    this.#name = `${thing}-in-doubt`;
  }

  /** Whether the attempt that is in doubt is of this content. */
  isOf(content) {
    const kept = this.kept();
    return Boolean(kept) && Object.entries(content).every(([member, text]) => kept.content[member] === text);
  }

  /** The key for this content: that of the attempt that is in doubt, if it is of the same. What `isHeld` is sent after a reload. */
  at(content, isHeld) {
    const key = this.isOf(content) ? this.kept().key : freshKey();
    write(this.#name, { content, key, isHeld });
    return key;
  }

  kept() {
    return read(this.#name);
  }

  forget() {
    write(this.#name, null);
  }
}

/** A fresh UUID of version 7. `crypto.randomUUID` is there with HTTPS only. */
export function freshKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const time = BigInt(Date.now());
  for (let index = 0; index < 6; index++) bytes[index] = Number((time >> BigInt(40 - 8 * index)) & 255n);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
