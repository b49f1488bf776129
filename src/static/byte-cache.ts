interface Slot<Value> {
  readonly value: Value;
  readonly bytes: number;
  used: boolean;
}

/**
 * A map bounded by the bytes its values hold. A hit only sets a flag; what has not been asked for since the last
 * sweep goes first (second chance).
 */
export class ByteCache<Value> {
  readonly #slots = new Map<string, Slot<Value>>();
  readonly #maxBytes: number;
  #bytes = 0;
  #crowded = false;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Has it ever been too small for all that was asked for? */
  get crowded(): boolean {
    return this.#crowded;
  }

  /** What is there, without counting as a use. */
  peek(key: string): Value | undefined {
    return this.#slots.get(key)?.value;
  }

  get(key: string): Value | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    slot.used = true;
    return slot.value;
  }

  set(key: string, value: Value, bytes: number): void {
    this.delete(key);
    if (bytes > this.#maxBytes) return;
    this.#slots.set(key, { value, bytes, used: false });
    this.#bytes += bytes;
    if (this.#bytes > this.#maxBytes) this.#evict();
  }

  delete(key: string): void {
    const slot = this.#slots.get(key);
    if (slot === undefined) return;
    this.#slots.delete(key);
    this.#bytes -= slot.bytes;
  }

  #evict(): void {
    this.#crowded = true;
    // Every slot met loses its flag, so the second round at the latest finds enough.
    for (const [key, slot] of this.#slots) {
      if (this.#bytes <= this.#maxBytes) return;
      this.#slots.delete(key);
      if (slot.used) {
        slot.used = false;
        this.#slots.set(key, slot);
      } else {
        this.#bytes -= slot.bytes;
      }
    }
  }
}
