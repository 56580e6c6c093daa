// Runs the graphs of a bundle in ONNX Runtime Web. Graphs are loaded when they are first used.

import { CodecError } from "./errors.js";

const ORT = new URL("./ort/", import.meta.url).href;
const LARGEST_POOL = 8; // threads; more of them wait for each other

/**
 * @typedef {{data: Int8Array | Int32Array | Float32Array, dims: number[]}} Plane
 * @typedef {(name: string) => Promise<Uint8Array>} Fetch returns a file of the bundle, checked
 */

/** Tells whether there is a GPU that is worth a runtime twice as large: none that is emulated on the CPU. */
async function hasGpu() {
  try {
    const adapter = await /** @type {any} */ (navigator).gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
  } catch {
    return false;
  }
}

export class Networks {
  /** @param {any} ort @param {string} provider "wasm" or "webgpu" @param {(graph: string) => string | null} fileOf @param {Fetch} fetchFile */
  constructor(ort, provider, fileOf, fetchFile) {
    this.ort = ort;
    this.provider = provider;
    this.fileOf = fileOf;
    this.fetchFile = fetchFile;
    /** @type {Map<string, Promise<any>>} */
    this.sessions = new Map();
    /** @type {Record<string, number>} */
    this.milliseconds = {};
  }

  /**
   * Loads the runtime.
   * @param {{backend: string, threads: number}} options backend: "auto", "wasm" or "webgpu"; threads: 0 for as many as
   *   there are cores. Without cross-origin isolation there is one.
   * @param {(graph: string) => string | null} fileOf @param {Fetch} fetchFile
   */
  static async load({ backend, threads }, fileOf, fetchFile) {
    const provider = backend === "webgpu" || (backend === "auto" && (await hasGpu())) ? "webgpu" : "wasm";
    const ort = await import(`./ort/ort.${provider}.min.mjs`);
    const cores = Math.min(navigator.hardwareConcurrency || 1, LARGEST_POOL);
    ort.env.wasm.wasmPaths = ORT;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? threads || cores : 1;
    ort.env.logLevel = "error";
    return new Networks(ort, provider, fileOf, fetchFile);
  }

  /** Says what networks run on, for people. */
  get description() {
    if (this.provider === "webgpu") return "WebGPU";
    const threads = this.ort.env.wasm.numThreads;
    return `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  }

  /**
   * Runs a graph and returns its outputs by their names.
   * @param {string} graph @param {Record<string, Plane>} inputs @returns {Promise<Record<string, any>>}
   */
  async run(graph, inputs) {
    const session = await this.#session(graph);
    const start = performance.now();
    /** @type {Record<string, any>} */
    const feeds = {};
    for (const name of session.inputNames) {
      const { data, dims } = inputs[name];
      feeds[name] = new this.ort.Tensor(typeOf(data), data, dims);
    }
    const results = await session.run(feeds);
    this.milliseconds[graph] = performance.now() - start;
    return Object.fromEntries(session.outputNames.map((/** @type {string} */ name) => [name, results[name].data]));
  }

  /** @param {string} graph */
  #session(graph) {
    let session = this.sessions.get(graph);
    if (!session) {
      session = this.#create(graph);
      this.sessions.set(graph, session);
      session.catch(() => this.sessions.delete(graph)); // a download that failed may be tried again
    }
    return session;
  }

  /** @param {string} graph */
  async #create(graph) {
    const file = this.fileOf(graph);
    if (!file) throw new CodecError("UnsupportedError", `the model has no graph ${graph}`);
    const [model, weights] = await Promise.all([this.fetchFile(file), this.fetchFile("weights.bin")]);
    return this.ort.InferenceSession.create(model, {
      executionProviders: [this.provider],
      externalData: [{ path: "weights.bin", data: weights }],
    });
  }
}

/** @param {Int8Array | Int32Array | Float32Array} data */
function typeOf(data) {
  if (data instanceof Int8Array) return "int8";
  return data instanceof Int32Array ? "int32" : "float32";
}

/** Returns a number as graphs take it. @param {number} value @returns {Plane} */
export function number(value) {
  return { data: new Float32Array([value]), dims: [1] };
}
