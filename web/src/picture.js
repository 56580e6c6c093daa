// One open stream: its symbols, and the pictures that networks make of them.

import { readAlpha, readLossless } from "./attachments.js";
import { TYPES } from "./coder.js";
import { CodecError } from "./errors.js";
import { number } from "./networks.js";
import { fromTensor } from "./pixels.js";
import { cut, DECODE_MARGIN, plan } from "./windows.js";

const LATENTS = 4; // places of y in a stride; z has one
const KEPT_PIXELS = 1 << 23; // of a larger picture only the base and the last number of slices are kept

/** @typedef {import("./coder.js").Symbols} Symbols */

export class Picture {
  /**
   * Opens a stream. Throws CodecError where there is no picture in it.
   * @param {import("./coder.js").Coder} coder @param {import("./networks.js").Networks} networks
   * @param {import("./coder.js").Stream} stream @param {Uint8Array} data
   */
  constructor(coder, networks, stream, data) {
    this.coder = coder;
    this.networks = networks;
    this.stream = stream;
    this.data = data;
    this.width = stream.header.width;
    this.height = stream.header.height;
    this.symbols = coder.read(stream, coder.slices);
    /** @type {string[]} */
    this.problems = this.symbols.problem ? [this.symbols.problem] : [];
    /** @type {Uint8ClampedArray | null} */
    this.alpha = null;
    /** @type {Uint8ClampedArray | null} */
    this.exact = null;
    /** @type {Map<number, Uint8ClampedArray>} */
    this.made = new Map();
  }

  /** Tells how many auxiliary slices pictures can be made of; with a picture without loss that is one. */
  get slices() {
    return this.exact ? 1 : this.symbols.slices;
  }

  /** Reads what is beside the symbols. What is wrong with it ends up in `problems`. */
  async readAttachments() {
    const { width, height } = this;
    this.exact = await this.#attachment(TYPES.LOSSLESS, "lossless picture", (d) => readLossless(d, width, height));
    this.alpha = await this.#attachment(TYPES.ALPHA, "alpha", (d) => readAlpha(d, width, height));
    for (const { type, state } of this.stream.chunks) {
      if (state !== "ok" && ![TYPES.AUX_SLICE, TYPES.LOSSLESS, TYPES.ALPHA].includes(type)) {
        this.problems.push(`${nameOf(type)} is ${state}`);
      }
    }
  }

  /**
   * Returns the picture of so many auxiliary slices, RGBA of the size of the header: x1 for none, else x2, which is the
   * picture at a beta of 0.
   * @param {number} slices @param {(share: number) => void} [progress]
   */
  async pixels(slices, progress = () => {}) {
    if (slices > this.slices) throw new CodecError("InputError", `the stream has ${this.slices} slices`);
    if (slices && this.exact) return this.exact;
    const kept = this.made.get(slices);
    if (kept) return kept;
    const rgba = await this.#synthesise(slices, progress);
    if (this.width * this.height > KEPT_PIXELS) {
      for (const count of this.made.keys()) if (count) this.made.delete(count);
    }
    this.made.set(slices, rgba);
    return rgba;
  }

  close() {
    this.stream.close();
  }

  /** @param {number} slices @param {(share: number) => void} progress */
  async #synthesise(slices, progress) {
    const { coder, width, height, stream } = this;
    // What is left out has to be zero, as if it had not come.
    const symbols = slices === this.symbols.slices ? this.symbols : coder.read(stream, slices);
    const { baseQuality, auxQuality } = stream.header;
    /** @type {Record<string, import("./networks.js").Plane>} */
    const levels = {
      base_level: number(coder.level(1, baseQuality)),
      beta: number(0),
      slices: { data: new Int32Array([slices]), dims: [1] },
    };
    if (slices) levels.aux_level = number(coder.level(2, auxQuality));
    const graph = this.#graph(slices);
    const rgba = new Uint8ClampedArray(4 * width * height);
    const windows = plan(width, height, DECODE_MARGIN);
    for (const [index, window] of windows.entries()) {
      progress(index / windows.length);
      const planes = {
        z1: cut(symbols.z1, symbols.shapes.z1, window, 1),
        y1: cut(symbols.y1, symbols.shapes.y1, window, LATENTS),
        z2: cut(symbols.z2, symbols.shapes.z2, window, 1),
        y2: cut(symbols.y2, symbols.shapes.y2, window, LATENTS),
      };
      const { pixels } = await this.networks.run(graph, { ...planes, ...levels });
      fromTensor(rgba, width, height, window, pixels);
    }
    return rgba;
  }

  /** @param {number} slices */
  #graph(slices) {
    if (!slices) return "decode_base";
    return this.coder.fileOf("decode_people") ? "decode_people" : "decode_full";
  }

  /**
   * @param {number} type @param {string} name @param {(data: Uint8Array) => Promise<Uint8ClampedArray>} read
   */
  async #attachment(type, name, read) {
    const chunk = this.stream.chunks.find((candidate) => candidate.type === type);
    if (!chunk) return null;
    if (chunk.state !== "ok") {
      this.problems.push(`${name} is ${chunk.state}`);
      return null;
    }
    try {
      return await read(this.data.slice(chunk.offset, chunk.offset + chunk.length));
    } catch (error) {
      if (!(error instanceof CodecError)) throw error;
      this.problems.push(`${name} ${error.message}`);
      return null;
    }
  }
}

/** Returns the name of a type of chunk as `rdc info` has it. @param {number} type */
export function nameOf(type) {
  const known = Object.entries(TYPES).find(([, number]) => number === type);
  return known ? known[0].toLowerCase() : `unknown_${type}`;
}
