// Pixels between canvases (RGBA, 0 to 255) and graphs (int8 [1, height, width, 3], value - 128, whole strides).

import { STRIDE } from "./windows.js";

/** @typedef {import("./windows.js").Window} Window */

/**
 * Returns a window of a picture as graphs take it; beyond the picture its last row and column are repeated.
 * @param {Uint8ClampedArray} rgba @param {number} width @param {number} height @param {Window} window
 */
export function toTensor(rgba, width, height, { row, column }) {
  const [top, left] = [row.first * STRIDE, column.first * STRIDE];
  const [tall, wide] = [(row.last - row.first) * STRIDE, (column.last - column.first) * STRIDE];
  const data = new Int8Array(tall * wide * 3);
  let to = 0;
  for (let y = 0; y < tall; y++) {
    const line = Math.min(top + y, height - 1) * width;
    for (let x = 0; x < wide; x++) {
      const from = 4 * (line + Math.min(left + x, width - 1));
      data[to++] = rgba[from] - 128;
      data[to++] = rgba[from + 1] - 128;
      data[to++] = rgba[from + 2] - 128;
    }
  }
  return { data, dims: [1, tall, wide, 3] };
}

/**
 * Writes the core of a window that a graph made, as far as it lies within the picture.
 * @param {Uint8ClampedArray} rgba @param {number} width @param {number} height @param {Window} window
 * @param {Int8Array} made
 */
export function fromTensor(rgba, width, height, { row, column }, made) {
  const wide = (column.last - column.first) * STRIDE;
  const right = Math.min(column.stop * STRIDE, width);
  for (let y = row.start * STRIDE; y < Math.min(row.stop * STRIDE, height); y++) {
    let from = 3 * ((y - row.first * STRIDE) * wide + (column.start - column.first) * STRIDE);
    let to = 4 * (y * width + column.start * STRIDE);
    for (let x = column.start * STRIDE; x < right; x++) {
      rgba[to++] = made[from++] + 128;
      rgba[to++] = made[from++] + 128;
      rgba[to++] = made[from++] + 128;
      rgba[to++] = 255;
    }
  }
}

/** Returns the pixels of a bitmap. @param {ImageBitmap} bitmap */
export function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser gives no canvas for a picture of this size");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height).data;
}

/**
 * Sums what a blend base + (1 - beta) * (full - base) differs from an original by, over all samples that are seen, so
 * that its error is known for every beta: beta^2 * base + 2 * beta * (1 - beta) * both + (1 - beta)^2 * full.
 * @param {Uint8ClampedArray} original @param {Uint8ClampedArray} base @param {Uint8ClampedArray} full
 */
export function errors(original, base, full) {
  const sums = { base: 0, both: 0, full: 0, samples: 0 };
  for (let k = 0; k < original.length; k += 4) {
    if (!original[k + 3]) continue;
    for (let c = k; c < k + 3; c++) {
      const [a, b] = [base[c] - original[c], full[c] - original[c]];
      sums.base += a * a;
      sums.both += a * b;
      sums.full += b * b;
    }
    sums.samples += 3;
  }
  return sums;
}

/** Returns the PSNR in dB of the blend at a beta. @param {ReturnType<typeof errors>} sums @param {number} beta */
export function psnr(sums, beta) {
  const rest = 1 - beta;
  const total = beta * beta * sums.base + 2 * beta * rest * sums.both + rest * rest * sums.full;
  return 10 * Math.log10((255 * 255 * sums.samples) / total);
}
