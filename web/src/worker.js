// Does all the work, in a thread of its own. Every message is {id, method, argument}; the answer is {id, result} or
// {id, error}. What is said meanwhile is {status, share}.

import { Coder } from "./coder.js";
import { encode } from "./encoder.js";
import { CodecError, toPlain } from "./errors.js";
import { Networks } from "./networks.js";
import { nameOf, Picture } from "./picture.js";
import { errors, pixelsOf } from "./pixels.js";

const MAX_PIXELS = 1 << 26;

/** @type {Coder} */
let coder;
/** @type {Networks} */
let networks;
/** @type {Picture | null} */
let picture = null;
/** @type {{data: Uint8ClampedArray, width: number, height: number} | null} */
let original = null;

/** @param {string} status @param {number} [share] of it that is done, 0 to 1 */
function say(status, share) {
  self.postMessage({ status, share });
}

/**
 * Downloads a file, and says how far it is.
 * @param {string} url @param {string} [status]
 */
async function download(url, status) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok || !response.body) {
    throw new CodecError("InputError", `cannot load ${url} (${response ? `status ${response.status}` : "no answer"})`);
  }
  const total = Number(response.headers.get("Content-Length")); // of what is sent, which may be compressed
  const parts = [];
  let received = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    received += value.length;
    if (status && total) say(status, Math.min(1, received / total));
  }
  return new Uint8Array(await new Blob(/** @type {BlobPart[]} */ (parts)).arrayBuffer());
}

/** Returns a function that downloads files of a bundle once, and checks them. @param {string} base */
function bundleFiles(base) {
  /** @type {Map<string, Promise<Uint8Array>>} */
  const files = new Map();
  return (/** @type {string} */ name) => {
    let file = files.get(name);
    if (!file) {
      file = download(base + name, name === "weights.bin" ? "Loading the model" : undefined).then((data) => {
        coder.checkFile(name, data);
        return data;
      });
      files.set(name, file);
      file.catch(() => files.delete(name));
    }
    return file;
  };
}

function opened() {
  if (!picture) throw new CodecError("InputError", "no stream is open");
  return picture;
}

const methods = {
  /** @param {{bundle: string, backend: string, threads: number}} options bundle: address of its folder, ending in / */
  async start(options) {
    const [{ default: createModule }, manifest, tables] = await Promise.all([
      import(new URL("./coder/rdc.mjs", import.meta.url).href),
      download(`${options.bundle}manifest.json`),
      download(`${options.bundle}tables.npz`),
    ]);
    coder = new Coder(await createModule(), manifest, tables);
    const files = bundleFiles(options.bundle);
    networks = await Networks.load(options, (graph) => coder.fileOf(graph), files);
    files("weights.bin").catch(() => {}); // meanwhile; whoever needs them is told what is wrong
    return { model: coder.model, name: coder.name, slices: coder.slices, runsOn: networks.description };
  },

  /** @param {{data: Uint8Array}} argument */
  async open({ data }) {
    picture?.close();
    picture = null;
    const stream = coder.open(data, MAX_PIXELS);
    const described = {
      header: stream.header,
      chunks: stream.chunks.map((chunk) => ({ ...chunk, name: nameOf(chunk.type) })),
      bytes: data.length,
    };
    try {
      coder.checkModel(stream);
      picture = new Picture(coder, networks, stream, data);
      await picture.readAttachments();
    } catch (error) {
      stream.close();
      picture = null;
      return { ...described, error: toPlain(error), problems: [], slices: 0, exact: false, alpha: null };
    }
    const { problems, slices, exact, alpha, width, height } = picture;
    return { ...described, problems, slices, exact: exact !== null, alpha: alpha && (await mask(alpha, width, height)) };
  },

  /**
   * Makes the picture of so many slices, and compares it with the original where there is one.
   * @param {{slices: number}} argument
   */
  async picture({ slices }) {
    const open = opened();
    const status = slices ? "Decoding for people" : "Decoding the base";
    say(status);
    const rgba = await open.pixels(slices, (share) => say(status, share));
    const image = new ImageData(/** @type {any} */ (rgba), open.width, open.height);
    return createImageBitmap(image, { colorSpaceConversion: "none" });
  },

  /** Returns the pixels themselves. @param {{slices: number}} argument */
  async pixels({ slices }) {
    return (await opened().pixels(slices)).slice();
  },

  /** Returns the symbols by the names of the graphs' inputs. */
  symbols() {
    const { z1, y1, z2, y2, slices } = opened().symbols;
    return { z1: z1.slice(), y1: y1.slice(), z2: z2.slice(), y2: y2.slice(), slices };
  },

  /** Keeps the picture that streams are compared with or made of. @param {{bitmap: ImageBitmap | null}} argument */
  original({ bitmap }) {
    original = bitmap && { data: pixelsOf(bitmap), width: bitmap.width, height: bitmap.height };
    bitmap?.close();
  },

  /** Returns sums that the PSNR follows from, or null. @param {{slices: number}} argument */
  async compare({ slices }) {
    const open = opened();
    if (original?.width !== open.width || original.height !== open.height) return null;
    return errors(original.data, await open.pixels(0), await open.pixels(slices));
  },

  /** Codes the original. @param {{quality: number, slices?: number}} argument */
  async encode({ quality, slices = coder.slices }) {
    if (!original) throw new CodecError("InputError", "there is no picture to code");
    if (original.width * original.height > MAX_PIXELS) {
      throw new CodecError("LimitError", `the picture has more than ${MAX_PIXELS} pixels`);
    }
    say("Encoding");
    return encode(coder, networks, original, quality, slices, (share) => say("Encoding", share));
  },

  /** Returns what networks run on, and how long each graph took when it last ran, in milliseconds. */
  timings() {
    return { runsOn: networks.description, milliseconds: { ...networks.milliseconds } };
  },
};

/** Makes a bitmap that is as transparent as a plane says. @param {Uint8ClampedArray} alpha @param {number} width @param {number} height */
function mask(alpha, width, height) {
  const image = new ImageData(width, height);
  alpha.forEach((value, k) => (image.data[4 * k + 3] = value));
  return createImageBitmap(image);
}

/** @type {Promise<unknown>} */
let turn = Promise.resolve(); // one after the other: sessions run one graph at a time

self.onmessage = ({ data: { id, method, argument } }) => {
  turn = turn.then(async () => {
    try {
      const result = await methods[/** @type {keyof typeof methods} */ (method)](argument);
      self.postMessage({ id, result });
    } catch (error) {
      self.postMessage({ id, error: toPlain(error) });
    }
  });
};
