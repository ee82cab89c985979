// An attempt to record something, stored so that a reload keeps its key: each thing has one key, however often it is
// sent, and is recorded once.

export class Attempt {
  #name;
  // Where the browser keeps nothing, the attempt lasts as long as the page.
  #remembered = null;

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
    const attempt = { content, key: this.isOf(content) ? this.kept().key : freshKey(), isHeld };
    this.#remembered = attempt;
    try {
      sessionStorage.setItem(this.#name, JSON.stringify(attempt));
    } catch {
      // It is remembered.
    }
    return attempt.key;
  }

  kept() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#name)) ?? this.#remembered;
    } catch {
      return this.#remembered;
    }
  }

  forget() {
    this.#remembered = null;
    try {
      sessionStorage.removeItem(this.#name);
    } catch {
      // Nothing was kept.
    }
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
