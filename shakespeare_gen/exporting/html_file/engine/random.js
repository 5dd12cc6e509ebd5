/**
 * The random numbers of NumPy's `Generator(Philox(key=(seed, stream)))`: Philox 4x64 with 10 rounds
 * (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 *     const random = new Philox(seed, 0n);
 *     random.float32(); // in [0, 1)
 */

const ROUNDS = 10;
const MASK = (1n << 64n) - 1n;
const MULTIPLIERS = [0xd2e7470ee14c6c93n, 0xca5a826395121157n];
const WEYL = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];

export class Philox {
  #key;
  #counter = 0n;
  #words = [];
  #half = null; // the upper half of a word whose lower half was used

  /** @param {number} seed @param {bigint} stream */
  constructor(seed, stream) {
    this.#key = [BigInt(seed), stream];
  }

  /** A float32 in [0, 1). */
  float32() {
    return (this.#uint32() >>> 8) / 2 ** 24;
  }

  /** A float64 in [0, 1). */
  float64() {
    return Number(this.#uint64() >> 11n) / 2 ** 53;
  }

  #uint32() {
    if (this.#half !== null) {
      const half = this.#half;
      this.#half = null;
      return half;
    }
    const word = this.#uint64();
    this.#half = Number(word >> 32n);
    return Number(word & 0xffffffffn);
  }

  #uint64() {
    if (!this.#words.length) this.#words = this.#block();
    return this.#words.shift();
  }

  #block() {
    this.#counter += 1n;
    let [c0, c1, c2, c3] = [this.#counter & MASK, this.#counter >> 64n, 0n, 0n];
    let [k0, k1] = this.#key;
    for (let round = 0; round < ROUNDS; round++) {
      const [a, b] = [MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2];
      [c0, c1, c2, c3] = [(b >> 64n) ^ c1 ^ k0, b & MASK, (a >> 64n) ^ c3 ^ k1, a & MASK];
      k0 = (k0 + WEYL[0]) & MASK;
      k1 = (k1 + WEYL[1]) & MASK;
    }
    return [c0, c1, c2, c3];
  }
}
