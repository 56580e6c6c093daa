// Runs the graphs of a bundle in ONNX Runtime Web. Graphs are loaded when they are first used.

import { CodecError } from "./errors.js";

const ORT = new URL("./ort/", import.meta.url).href;
const ERROR = 3; // what is said of nodes that WebGPU leaves to the CPU is no news
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
  /**
   * @param {number} threads 0 for as many as there are cores
   * @param {(graph: string) => string | null} fileOf @param {Fetch} fetchFile
   */
  constructor(threads, fileOf, fetchFile) {
    this.threads = threads;
    this.fileOf = fileOf;
    this.fetchFile = fetchFile;
    this.provider = "";
    /** @type {any} */
    this.ort = null;
    /** @type {Map<string, Promise<any>>} */
    this.sessions = new Map();
    /** @type {Record<string, number>} */
    this.milliseconds = {};
  }

  /**
   * Loads the runtime.
   * @param {{backend: string, threads: number}} options backend: "auto", "wasm" or "webgpu", which "wasm" stands in for
   *   where it fails. Without cross-origin isolation there is one thread.
   * @param {(graph: string) => string | null} fileOf @param {Fetch} fetchFile
   */
  static async load({ backend, threads }, fileOf, fetchFile) {
    const networks = new Networks(threads, fileOf, fetchFile);
    await networks.#use(backend === "webgpu" || (backend === "auto" && (await hasGpu())) ? "webgpu" : "wasm");
    return networks;
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
    try {
      return await this.#runOnce(graph, inputs);
    } catch (error) {
      if (error instanceof CodecError || this.provider === "wasm") throw error;
      await this.#use("wasm"); // a GPU may be lost, or lack what a graph needs
      return this.#runOnce(graph, inputs);
    }
  }

  /** @param {string} provider */
  async #use(provider) {
    const ort = await import(`./ort/ort.${provider}.min.mjs`);
    const cores = Math.min(navigator.hardwareConcurrency || 1, LARGEST_POOL);
    ort.env.wasm.wasmPaths = ORT;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? this.threads || cores : 1;
    this.ort = ort;
    this.provider = provider;
    this.sessions.clear();
  }

  /** @param {string} graph @param {Record<string, Plane>} inputs @returns {Promise<Record<string, any>>} */
  async #runOnce(graph, inputs) {
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
      logSeverityLevel: ERROR,
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
