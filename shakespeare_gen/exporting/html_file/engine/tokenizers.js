/**
 * Text to token ids and back: characters, bytes, or words with bytes for the rest.
 *
 * As `shakespeare_gen.data.tokenizers`. A decoder is fed ids one by one, and returns the text that
 * each completes; `flush` returns the replacement of a character that is incomplete at the end.
 *
 * @typedef {object} TokenizerValues
 * @property {"characters"|"bytes"|"words"} tokens
 * @property {number} start_id what is read before the first token of a text
 * @property {number|null} end_id
 * @property {number|null} unknown_id
 * @property {number[]} forbidden_ids
 * @property {string} [characters]
 * @property {string[]} [texts] of the ids from 256 on
 */

const NUM_BYTES = 256;

// Characters that NFKD does not decompose to ASCII.
const REPLACEMENTS = {
  "‘": "'",
  "’": "'",
  "‚": "'",
  "‛": "'",
  "“": '"',
  "”": '"',
  "„": '"',
  "«": '"',
  "»": '"',
  "‐": "-",
  "‑": "-",
  "‒": "-",
  "–": "-",
  "—": "--",
  "―": "--",
  "−": "-",
  ß: "ss",
  æ: "ae",
  Æ: "AE",
  œ: "oe",
  Œ: "OE",
  ø: "o",
  Ø: "O",
  đ: "d",
  Đ: "D",
  ł: "l",
  Ł: "L",
  þ: "th",
  Þ: "Th",
  "\t": " ",
};

/** A character folded to ASCII; "" if there is no similar text. */
function nearest(character) {
  const replaced = [...character.normalize("NFKC")].map((c) => REPLACEMENTS[c] ?? c).join("");
  return replaced.normalize("NFKD").replaceAll(/[^\0-\x7f]/g, "");
}

/** @param {TokenizerValues} values */
export const makeTokenizer = (values) => new TOKENIZERS[values.tokens](values);

class Tokenizer {
  constructor({ start_id, end_id, unknown_id, forbidden_ids }) {
    this.startId = start_id;
    this.endId = end_id;
    this.unknownId = unknown_id;
    this.forbiddenIds = forbidden_ids;
  }

  /**
   * Text that `encode` accepts: unknown characters become the nearest known ones; if one has none,
   * and there is no id for it, all unknown characters are left out.
   */
  prepare(text) {
    const unknown = [...new Set(text)].filter((c) => !this.isKnown(c));
    if (!unknown.length) return text;
    const replacements = new Map();
    for (const character of unknown) {
      const found = nearest(character);
      if (found && [...found].every((c) => this.isKnown(c))) replacements.set(character, found);
    }
    const isRejected = replacements.size < unknown.length && this.unknownId === null;
    const skipped = new Set(unknown);
    const replaced = (c) => (isRejected && skipped.has(c) ? "" : (replacements.get(c) ?? c));
    return [...text].map(replaced).join("");
  }

  /** The text of ids. */
  decode(ids) {
    const decoder = this.decoder();
    return ids.map((id) => decoder.feed(id)).join("") + decoder.flush();
  }

  label(id) {
    return this.decode([id]);
  }

  /** The end of a text that is encoded by itself, but may be the beginning of one token. */
  unfinished() {
    return "";
  }
}

class CharacterTokenizer extends Tokenizer {
  #characters;
  #ids;

  constructor(values) {
    super(values);
    this.#characters = [...values.characters];
    this.#ids = new Map(this.#characters.map((character, id) => [character, id]));
    if (this.unknownId !== null) this.#characters.push("\ufffd");
  }

  isKnown(character) {
    return this.#ids.has(character);
  }

  encode(text) {
    return Array.from(text, (character) => this.#ids.get(character) ?? this.unknownId);
  }

  decoder() {
    return { feed: (id) => this.#characters[id], flush: () => "" };
  }
}

class ByteTokenizer extends Tokenizer {
  #encoder = new TextEncoder();

  /** UTF-8 has no surrogates. */
  isKnown(character) {
    return !/\p{Cs}/u.test(character);
  }

  encode(text) {
    return [...this.bytes(text)];
  }

  bytes(text) {
    return this.#encoder.encode(text);
  }

  bytesOf(id) {
    return Uint8Array.of(id);
  }

  decoder() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      feed: (id) => decoder.decode(this.bytesOf(id), { stream: true }),
      flush: () => decoder.decode(),
    };
  }

  /** Of a part of a character, the byte, such as `\xd0`. */
  label(id) {
    return id >= 0x80 && id < NUM_BYTES ? `\\x${id.toString(16)}` : super.label(id);
  }
}

// The classes of Python's `re`: letters are \w without \d and _, blanks are \s.
const LETTER = String.raw`[\p{L}\p{Nl}\p{No}]`;
const BLANK = String.raw`\t-\r\x1c-\x20\x85\p{Z}`;
const MARK = String.raw`(?:(?![\u{10000}-\u{10ffff}])\p{M})`;
const WORD = `[ '’]?${LETTER}+(?:${MARK}+${LETTER}*)*`;
const OTHER = String.raw` ?[^\p{L}\p{N}${BLANK}\x03]`;
const PIECE = new RegExp(String.raw`${WORD}| ?\p{Nd}+|${OTHER}| +|[${BLANK}\x03]`, "gu");

class WordTokenizer extends ByteTokenizer {
  #texts;
  #ids;

  constructor(values) {
    super(values);
    this.#texts = values.texts;
    const ascii = Array.from({ length: 0x80 }, (_, id) => [String.fromCharCode(id), id]);
    this.#ids = new Map([...ascii, ...values.texts.map((text, i) => [text, NUM_BYTES + i])]);
  }

  encode(text) {
    return (text.match(PIECE) ?? []).flatMap((piece) => this.#ids.get(piece) ?? this.#spelled(piece));
  }

  bytesOf(id) {
    return id < NUM_BYTES ? super.bytesOf(id) : this.bytes(this.#texts[id - NUM_BYTES]);
  }

  unfinished(text) {
    const last = text.slice(text.lastIndexOf("\n") + 1).match(PIECE)?.at(-1) ?? "";
    return this.beginningWith(last).length > this.#ids.has(last) ? last : "";
  }

  /** The tokens that begin with a result of `unfinished`. */
  beginningWith(text) {
    if (!text) return [];
    const own = text.length === 1 && text < "\x80" ? [this.#ids.get(text)] : [];
    const others = this.#texts.flatMap((token, i) =>
      token.startsWith(text) ? [NUM_BYTES + i] : [],
    );
    return [...own, ...others];
  }

  #spelled(piece) {
    return Array.from(piece).flatMap((c) => this.#ids.get(c) ?? [...this.bytes(c)]);
  }
}

const TOKENIZERS = { characters: CharacterTokenizer, bytes: ByteTokenizer, words: WordTokenizer };
