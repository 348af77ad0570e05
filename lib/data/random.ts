/** MurmurHash3's finaliser (public domain): every bit of the word sways every bit of the result. */
const mix = (word: number): number => {
  let h = word | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
};

const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/**
 * xoshiro128** 1.1 of Blackman and Vigna (public domain), in 32-bit integers, so that it gives the same numbers on every
 * platform. Not for secrets.
 */
export class Random {
  readonly #state = new Int32Array(4);

  /** Each list of integers (up to 53 bits, the order counting) has a stream of its own. */
  constructor(...seed: number[]) {
    let h = 0;
    for (const part of seed) {
      h = mix(h + 0x9e3779b9 + (part | 0)); // the low 32 bits
      h = mix(h + 0x9e3779b9 + Math.floor(part / 2 ** 32));
    }
    // mix() is a permutation, so of four different words at most one is 0, and the state is never the all-zero one
    // that xoshiro cannot leave.
    for (let i = 0; i < 4; i++) this.#state[i] = mix(h + (i + 1) * 0x9e3779b9);
  }

  /** An integer in [0, 2^32). */
  next(): number {
    const s = this.#state as unknown as [number, number, number, number];
    const result = Math.imul(rotate(Math.imul(s[1], 5), 7), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result;
  }

  /** An integer in [0, bound), each as likely; 1 <= bound <= 2^32. */
  below(bound: number): number {
    // 2^32 is seldom a multiple of the bound: the draws of the last, incomplete round are thrown away.
    const limit = 2 ** 32 - (2 ** 32 % bound);
    let drawn = this.next();
    while (drawn >= limit) drawn = this.next();
    return drawn % bound;
  }
}
