// Bytes to symbols and back: kernels/c_api, compiled to WebAssembly. kernels/c_api/rdc.h says what each function does.
// The numbers below are the places of fields in its structures, where pointers and size_t have four bytes.

import { CodecError } from "./errors.js";

const KINDS = new Map([
  [-1, "TruncatedError"],
  [-2, "CorruptError"],
  [-3, "UnsupportedError"],
  [-4, "WrongModelError"],
  [-5, "LimitError"],
  [-6, "InputError"],
  [-7, "InputError"],
  [-8, "LimitError"],
]);
const DAMAGED = 1;
const STATES = ["ok", "damaged", "truncated", "missing"];
export const TYPES = { PRIMARY: 1, AUX_SLICE: 2, ICC: 32, EXIF: 33, XMP: 34, ALPHA: 35, GREY: 36, LOSSLESS: 40 };
const MAX_SLICES = 4;
const HEADER_BYTES = 48;
const CHUNK_BYTES = 24;
const SHAPES_BYTES = 88;
const INFO_BYTES = 92;
const SYMBOLS_BYTES = 36;
const CONTENT_BYTES = 12;
const PLANES = /** @type {const} */ (["z1", "y1", "z2", "y2"]);

/**
 * @typedef {{type: number, offset: number, length: number, state: string}} Chunk
 * @typedef {{width: number, height: number, quality: number, baseQuality: number, auxQuality: number,
 *   headerBytes: number, model: string}} Header
 * @typedef {{z1: Int32Array, y1: Int32Array, z2: Int32Array, y2: Int32Array}} Planes
 * @typedef {Record<"z1" | "y1" | "z2" | "y2", number[]>} Shapes
 * @typedef {Planes & {shapes: Shapes, slices: number, problem: string | null}} Symbols
 */

/** Holds memory of the module for the time of one call. */
class Scope {
  /** @param {any} module */
  constructor(module) {
    /** @type {any} */
    this.module = module;
    /** @type {number[]} */
    this.addresses = [];
  }

  /** Returns the address of so many zero bytes. @param {number} size */
  room(size) {
    const address = this.module._malloc(Math.max(size, 8));
    if (!address) throw new CodecError("LimitError", "the browser has no memory left for this picture");
    this.addresses.push(address);
    this.module.HEAPU8.fill(0, address, address + size);
    return address;
  }

  /** Returns the address of a copy. @param {Uint8Array} data */
  copy(data) {
    const address = this.room(data.length);
    this.module.HEAPU8.set(data, address);
    return address;
  }

  /** Returns the address of a text that ends with a zero. @param {string} text */
  text(text) {
    return this.copy(new TextEncoder().encode(`${text}\0`));
  }

  /** Returns a view that is valid until memory is next asked for. @param {number} address @param {number} size */
  view(address, size) {
    return new DataView(this.module.HEAPU8.buffer, address, size);
  }

  close() {
    for (const address of this.addresses) this.module._free(address);
  }
}

/** Holds a stream whose header is valid, with the chunks of its directory. Close it when it is not needed any more. */
export class Stream {
  /** @param {number} handle @param {Scope} scope @param {Header} header @param {Chunk[]} chunks */
  constructor(handle, scope, header, chunks) {
    this.handle = handle;
    this.scope = scope;
    this.header = header;
    this.chunks = chunks;
  }

  close() {
    if (!this.handle) return;
    this.scope.module._rdc_stream_close(this.handle);
    this.scope.close();
    this.handle = 0;
  }
}

/** Reads and writes the streams of one bundle. */
export class Coder {
  /**
   * Opens a bundle. Throws CodecError where it cannot be used.
   * @param {any} module the compiled library
   * @param {Uint8Array} manifest @param {Uint8Array} tables files of the bundle
   */
  constructor(module, manifest, tables) {
    /** @type {any} */
    this.module = module;
    this.bundle = 0;
    this.#within((scope) => {
      const out = scope.room(4);
      const sources = [scope.copy(manifest), manifest.length, scope.copy(tables), tables.length];
      this.#check(module._rdc_bundle_open(...sources, out));
      this.bundle = scope.view(out, 4).getUint32(0, true);
      const at = scope.room(INFO_BYTES);
      this.#check(module._rdc_bundle_describe(this.bundle, at));
      const info = scope.view(at, INFO_BYTES);
      this.slices = info.getUint32(24, true);
      this.model = `${hex(info, 28, 4)}/${hex(info, 60, 4)}`;
    });
    this.name = this.#text(module._rdc_bundle_name(this.bundle));
  }

  /** Checks a file of the bundle by its SHA-256; throws CodecError. @param {string} name @param {Uint8Array} data */
  checkFile(name, data) {
    this.#within((scope) =>
      this.#check(
        this.module._rdc_bundle_check_file(this.bundle, scope.text(name), scope.copy(data), data.length),
      ),
    );
  }

  /** Returns the file of a graph, or null where the bundle has none of that name. @param {string} graph */
  fileOf(graph) {
    return this.#within((scope) => this.#text(this.module._rdc_bundle_graph(this.bundle, scope.text(graph))));
  }

  /**
   * Reads the header and the directory of a stream of any model. Throws CodecError.
   * @param {Uint8Array} data @param {number} maxPixels
   */
  open(data, maxPixels) {
    const scope = new Scope(this.module);
    let handle = 0;
    try {
      const at = scope.copy(data);
      const out = scope.room(4);
      this.#check(this.module._rdc_stream_open(at, data.length, BigInt(maxPixels), out));
      handle = scope.view(out, 4).getUint32(0, true);
      const { header, count } = this.#header(scope, handle);
      const chunks = Array.from({ length: count }, (_, index) => this.#chunk(scope, handle, index));
      return new Stream(handle, scope, header, chunks);
    } catch (error) {
      if (handle) this.module._rdc_stream_close(handle);
      scope.close();
      throw error;
    }
  }

  /** Throws a WrongModelError where a stream is of another model than the bundle. @param {Stream} stream */
  checkModel(stream) {
    this.#check(this.module._rdc_stream_check_model(stream.handle, this.bundle));
  }

  /**
   * Returns the symbols of a stream with at most so many auxiliary slices, and what of them was damaged. Throws
   * CodecError where there is no picture in it.
   * @param {Stream} stream @param {number} layers @returns {Symbols}
   */
  read(stream, layers) {
    const { width, height } = stream.header;
    return this.#within((scope) => {
      const shapes = this.#shapes(scope, width, height);
      const at = this.#planes(scope, shapes);
      const status = this.#check(
        this.module._rdc_read_symbols(this.bundle, stream.handle, Math.min(layers, MAX_SLICES), at),
      );
      const struct = scope.view(at, SYMBOLS_BYTES);
      const plane = (/** @type {number} */ k) => {
        const start = struct.getUint32(4 * k, true) >> 2;
        const heap = new Int32Array(this.module.HEAPU8.buffer);
        return heap.slice(start, start + size(shapes[PLANES[k]]));
      };
      return {
        z1: plane(0),
        y1: plane(1),
        z2: plane(2),
        y2: plane(3),
        shapes,
        slices: struct.getUint32(32, true),
        problem: status === DAMAGED ? this.#message() : null,
      };
    });
  }

  /**
   * Returns the shapes of the symbols of a picture, [1, channels, rows, columns]. Throws CodecError.
   * @param {number} width @param {number} height
   */
  shapes(width, height) {
    return this.#within((scope) => this.#shapes(scope, width, height));
  }

  /**
   * Returns the qualities of both branches, as a header holds them, for a dial of 0 to 100.
   * @param {number} dial
   */
  qualities(dial) {
    return this.#within((scope) => {
      const at = scope.room(24);
      scope.view(at, 24).setFloat64(0, dial, true);
      this.#check(this.module._rdc_bundle_qualities(this.bundle, at, at + 8, at + 16));
      const [quality, baseQuality, auxQuality] = [0, 8, 16].map((k) => scope.view(at, 24).getFloat64(k, true));
      return { quality, baseQuality, auxQuality };
    });
  }

  /**
   * Returns the graphs' input base_level (branch 1) or aux_level (branch 2).
   * @param {1 | 2} branch @param {number} quality
   */
  level(branch, quality) {
    return this.#within((scope) => {
      const at = scope.room(4);
      this.#check(this.module._rdc_bundle_level(this.bundle, branch, quality, at));
      return scope.view(at, 4).getFloat32(0, true);
    });
  }

  /**
   * Writes a stream. Throws CodecError.
   * @param {{width: number, height: number, quality: number, baseQuality: number, auxQuality: number}} header
   * @param {Planes} planes @param {number} slices auxiliary slices to write
   * @param {{type: number, data: Uint8Array}[]} contents other chunks
   */
  write(header, planes, slices, contents) {
    return this.#within((scope) => {
      const shapes = this.#shapes(scope, header.width, header.height);
      const symbols = this.#planes(scope, shapes, planes);
      scope.view(symbols, SYMBOLS_BYTES).setUint32(32, slices, true);
      const head = scope.room(HEADER_BYTES);
      const view = scope.view(head, HEADER_BYTES);
      view.setUint32(0, header.width, true);
      view.setUint32(4, header.height, true);
      view.setFloat64(8, header.quality, true);
      view.setFloat64(16, header.baseQuality, true);
      view.setFloat64(24, header.auxQuality, true);
      const addresses = contents.map(({ data }) => scope.copy(data));
      const list = scope.room(CONTENT_BYTES * contents.length);
      contents.forEach(({ type, data }, k) => {
        const entry = scope.view(list + CONTENT_BYTES * k, CONTENT_BYTES);
        entry.setUint32(0, type, true);
        entry.setUint32(4, addresses[k], true);
        entry.setUint32(8, data.length, true);
      });
      // A stream is far smaller than its symbols; where one is not, the first call says what it takes.
      let room = 65536 + contents.reduce((sum, { data }) => sum + data.length + 16, 0) + size(shapes.y1);
      const sizeAt = scope.room(4);
      for (let tries = 0; ; tries++) {
        const out = scope.room(room);
        const given = [this.bundle, head, symbols, list, contents.length, out, room, sizeAt];
        const status = this.module._rdc_write_stream(...given);
        const written = scope.view(sizeAt, 4).getUint32(0, true);
        if (KINDS.has(status) && written > room && tries === 0) {
          room = written;
          continue;
        }
        this.#check(status);
        return this.module.HEAPU8.slice(out, out + written);
      }
    });
  }

  /** @param {Scope} scope @param {number} width @param {number} height @returns {Shapes} */
  #shapes(scope, width, height) {
    const at = scope.room(SHAPES_BYTES);
    this.#check(this.module._rdc_bundle_shapes(this.bundle, width, height, at));
    const view = scope.view(at, SHAPES_BYTES);
    const shape = (/** @type {number} */ start) => [
      1,
      ...[0, 4, 8].map((k) => view.getUint32(start + k, true)),
    ];
    return { z1: shape(8), y1: shape(20), z2: shape(32), y2: shape(44) };
  }

  /** Returns the address of a structure of symbols. @param {Scope} scope @param {Shapes} shapes @param {Planes} [planes] */
  #planes(scope, shapes, planes) {
    const at = scope.room(SYMBOLS_BYTES);
    PLANES.forEach((name, k) => {
      const count = size(shapes[name]);
      const address = scope.room(4 * count);
      if (planes) new Int32Array(this.module.HEAPU8.buffer).set(planes[name], address >> 2);
      const struct = scope.view(at, SYMBOLS_BYTES);
      struct.setUint32(4 * k, address, true);
      struct.setUint32(16 + 4 * k, count, true);
    });
    return at;
  }

  /** @param {Scope} scope @param {number} handle */
  #header(scope, handle) {
    const at = scope.room(HEADER_BYTES);
    this.#check(this.module._rdc_stream_header(handle, at));
    const view = scope.view(at, HEADER_BYTES);
    const header = {
      width: view.getUint32(0, true),
      height: view.getUint32(4, true),
      quality: view.getFloat64(8, true),
      baseQuality: view.getFloat64(16, true),
      auxQuality: view.getFloat64(24, true),
      headerBytes: view.getUint32(40, true),
      model: `${hex(view, 32, 4)}/${hex(view, 36, 4)}`,
    };
    return { header, count: view.getUint32(44, true) };
  }

  /** @param {Scope} scope @param {number} handle @param {number} index @returns {Chunk} */
  #chunk(scope, handle, index) {
    return this.#within((inner) => {
      const at = inner.room(CHUNK_BYTES);
      this.#check(this.module._rdc_stream_chunk(handle, index, at));
      const view = inner.view(at, CHUNK_BYTES);
      return {
        offset: Number(view.getBigUint64(0, true)),
        length: view.getUint32(8, true),
        type: view.getUint32(12, true),
        state: STATES[view.getUint32(16, true)],
      };
    });
  }

  /** Returns a status that is no error. @param {number} status */
  #check(status) {
    if (status < 0) throw new CodecError(KINDS.get(status) ?? "InternalError", this.#message());
    return status;
  }

  #message() {
    return this.#text(this.module._rdc_message()) ?? "";
  }

  /** @param {number} address @returns {string | null} */
  #text(address) {
    if (!address) return null;
    const heap = this.module.HEAPU8;
    return new TextDecoder().decode(heap.slice(address, heap.indexOf(0, address)));
  }

  /** @template T @param {(scope: Scope) => T} work */
  #within(work) {
    /** @type {Scope} */
    const scope = new Scope(this.module);
    try {
      return work(scope);
    } finally {
      scope.close();
    }
  }
}

/** @param {number[]} shape */
export function size(shape) {
  return shape.reduce((product, side) => product * side, 1);
}

/** @param {DataView} view @param {number} start @param {number} count */
function hex(view, start, count) {
  return Array.from({ length: count }, (_, k) => view.getUint8(start + k).toString(16).padStart(2, "0")).join("");
}
