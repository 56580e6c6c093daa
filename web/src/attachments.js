// What a stream may have beside its symbols: transparency, and a picture without loss. Both are picture files, which
// the browser decodes after their headers were checked (docs/bitstream.md).

import { CodecError } from "./errors.js";
import { pixelsOf } from "./pixels.js";

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const GREY = 0;
const RGB = 2;
const VP8L_SIGNATURE = 0x2f;
const WEBP_HEADER = 25; // bytes up to the sides
const IHDR_BYTES = 13;
const PNG_HEADER = 29; // bytes up to and with the way of interlacing

/** @param {Uint8Array} data @param {number} start @param {number} end */
function ascii(data, start, end) {
  return String.fromCharCode(...data.subarray(start, end));
}

/**
 * Reads what kind of file it is, and the width and height that its header names. Throws CodecError for a file that no
 * chunk may have.
 * @param {Uint8Array} data @param {number} colour the type that a PNG must have
 */
function describe(data, colour) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  if (data.length >= WEBP_HEADER && ascii(data, 0, 4) === "RIFF") {
    const bits = view.getUint32(21, true);
    // Four bits follow the sides: transparency, and three of a version that is 0.
    const simple = ascii(data, 8, 16) === "WEBPVP8L" && data[20] === VP8L_SIGNATURE && bits >>> 28 === 0;
    if (!simple || view.getUint32(4, true) + 8 !== data.length) throw corrupt("is no plain WebP file without loss");
    return { type: "image/webp", width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
  }
  if (data.length >= PNG_HEADER && PNG.every((byte, k) => data[k] === byte) && ascii(data, 12, 16) === "IHDR") {
    const plain = view.getUint32(8) === IHDR_BYTES && data.subarray(26, PNG_HEADER).every((byte) => byte === 0);
    if (!plain || data[24] !== 8 || data[25] !== colour) throw corrupt("is a PNG file of another kind");
    return { type: "image/png", width: view.getUint32(16), height: view.getUint32(20) };
  }
  throw corrupt("is neither WebP nor PNG");
}

/** @param {string} what */
function corrupt(what) {
  return new CodecError("CorruptError", what);
}

/**
 * Decodes the file of a chunk to RGBA. Throws CodecError where it is not one of a picture of this size.
 * @param {Uint8Array} data @param {number} width @param {number} height @param {number} colour
 */
async function decode(data, width, height, colour) {
  const found = describe(data, colour);
  if (found.width !== width || found.height !== height) {
    throw corrupt(`is of ${found.width}x${found.height}, not of ${width}x${height}`);
  }
  let bitmap;
  try {
    const blob = new Blob([/** @type {BlobPart} */ (data)], { type: found.type });
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw corrupt("cannot be read");
  }
  if (bitmap.width !== width || bitmap.height !== height) throw corrupt("is of another size than its header says");
  return pixelsOf(bitmap);
}

/** Returns the picture of a LOSSLESS chunk, RGBA. @param {Uint8Array} data @param {number} width @param {number} height */
export async function readLossless(data, width, height) {
  const rgba = await decode(data, width, height, RGB);
  for (let k = 3; k < rgba.length; k += 4) if (rgba[k] !== 255) throw corrupt("is transparent");
  return rgba;
}

/** Returns the plane of an ALPHA chunk, 0 to 255. @param {Uint8Array} data @param {number} width @param {number} height */
export async function readAlpha(data, width, height) {
  const rgba = await decode(data, width, height, GREY);
  return Uint8ClampedArray.from({ length: width * height }, (_, k) => rgba[4 * k + 1]);
}

/**
 * Returns an ALPHA chunk for a picture, or null where it is opaque everywhere: a PNG file, since no browser promises
 * WebP without loss.
 * @param {Uint8ClampedArray} rgba @param {number} width @param {number} height
 */
export async function writeAlpha(rgba, width, height) {
  let opaque = true;
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = rgba[4 * (y * width + x) + 3];
      const left = x ? rgba[4 * (y * width + x - 1) + 3] : 0;
      rows[y * (width + 1) + x + 1] = value - left;
      opaque &&= value === 255;
    }
    rows[y * (width + 1)] = 1; // the filter: differences from the left
  }
  if (opaque) return null;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header[8] = 8; // bits; then grey, deflate, filters, not interlaced: all 0
  const file = [new Uint8Array(PNG), chunk("IHDR", header), chunk("IDAT", await deflate(rows)), chunk("IEND")];
  return new Uint8Array(await new Blob(/** @type {BlobPart[]} */ (file)).arrayBuffer());
}

/** @param {Uint8Array} data */
async function deflate(data) {
  const stream = new Blob([/** @type {BlobPart} */ (data)]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} type @param {Uint8Array} [data] */
function chunk(type, data = new Uint8Array()) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

/** Returns the CRC-32 of PNG. @param {Uint8Array} data */
function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
