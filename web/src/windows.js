// Networks run over windows of a large picture, so that memory does not grow with it. This is the plan of
// src/rdc_codec/windows.py: what is kept of a window is within one grey level of one run over the whole picture.
// All is counted in strides of 64 pixels.

export const STRIDE = 64;
export const ENCODE_MARGIN = 3;
export const DECODE_MARGIN = 2;
const LIMIT = 1024; // strides of a window with its margins, 4 megapixels

/**
 * A part of an axis: the core from start to stop, with its margins from first to last.
 * @typedef {{start: number, stop: number, first: number, last: number}} Span
 * @typedef {{row: Span, column: Span}} Window
 */

/** @param {number} end @param {number} count @param {number} margin @returns {Span[]} */
function spans(end, count, margin) {
  const edge = (/** @type {number} */ k) => Math.floor((end * k) / count);
  return Array.from({ length: count }, (_, k) => {
    const [start, stop] = [edge(k), edge(k + 1)];
    return { start, stop, first: Math.max(0, start - margin), last: Math.min(end, stop + margin) };
  });
}

/** @param {Span[]} parts */
function totalAndLongest(parts) {
  const lengths = parts.map((part) => part.last - part.first);
  return { total: lengths.reduce((a, b) => a + b, 0), longest: Math.max(...lengths) };
}

/**
 * Returns the windows of a picture of so many pixels: the grid, of those with small enough windows, with the least to
 * compute.
 * @param {number} width @param {number} height @param {number} margin @returns {Window[]}
 */
export function plan(width, height, margin) {
  const [columns, rows] = [Math.ceil(width / STRIDE), Math.ceil(height / STRIDE)];
  let best = { cost: Infinity, vertical: /** @type {Span[]} */ ([]), horizontal: /** @type {Span[]} */ ([]) };
  if (rows * columns <= LIMIT) best = { cost: 0, vertical: spans(rows, 1, 0), horizontal: spans(columns, 1, 0) };
  for (let down = 1; down <= rows; down++) {
    const vertical = spans(rows, down, margin);
    const { total, longest } = totalAndLongest(vertical);
    if (total * columns >= best.cost) break;
    for (let across = Math.min(columns, Math.max(1, Math.floor((longest * columns) / LIMIT))); across <= columns; across++) {
      const horizontal = spans(columns, across, margin);
      const wide = totalAndLongest(horizontal);
      if (longest * wide.longest <= LIMIT || (down === rows && across === columns)) {
        const cost = total * wide.total;
        if (cost < best.cost) best = { cost, vertical, horizontal };
        break;
      }
    }
  }
  return best.vertical.flatMap((row) => best.horizontal.map((column) => ({ row, column })));
}

/**
 * Copies a window with its margins out of a plane [1, channels, rows, columns].
 * @param {Int32Array} plane @param {number[]} shape @param {Window} window @param {number} unit places in a stride
 */
export function cut(plane, shape, { row, column }, unit) {
  const [, channels, height, width] = shape;
  const [top, bottom, left, right] = [row.first * unit, row.last * unit, column.first * unit, column.last * unit];
  const dims = [1, channels, bottom - top, right - left];
  if (dims[2] === height && dims[3] === width) return { data: plane, dims };
  const data = new Int32Array(channels * dims[2] * dims[3]);
  let to = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = top; y < bottom; y++, to += dims[3]) {
      const from = (c * height + y) * width;
      data.set(plane.subarray(from + left, from + right), to);
    }
  }
  return { data, dims };
}

/**
 * Copies the core of what was made of a window to its place in a plane [1, channels, rows, columns].
 * @param {Int32Array} plane @param {number[]} shape @param {Window} window @param {number} unit
 * @param {Int32Array} made of the window with its margins
 */
export function paste(plane, shape, { row, column }, unit, made) {
  const [, channels, height, width] = shape;
  const [tall, wide] = [(row.last - row.first) * unit, (column.last - column.first) * unit];
  const count = (column.stop - column.start) * unit;
  for (let c = 0; c < channels; c++) {
    for (let y = row.start * unit; y < row.stop * unit; y++) {
      const from = (c * tall + y - row.first * unit) * wide + (column.start - column.first) * unit;
      plane.set(made.subarray(from, from + count), (c * height + y) * width + column.start * unit);
    }
  }
}
