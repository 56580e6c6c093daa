// Shows how the bytes of a stream are spent: a bar, and a line for every layer.

import { bytesOf } from "./text.js";

/**
 * @typedef {{name: string, bytes: number, className: string, state: string, slice: number}} Layer slice: from which
 *   number of slices on it is used; -1: it is never left out
 */

const TEXT = /** @type {Record<string, string>} */ ({
  icc: "Colour profile",
  exif: "Exif",
  xmp: "XMP",
  alpha: "Transparency",
  grey: "Grey",
  lossless: "Lossless picture",
});

/**
 * Returns the layers of a stream in their order.
 * @param {number} headerBytes @param {{name: string, length: number, state: string}[]} chunks @returns {Layer[]}
 */
export function layersOf(headerBytes, chunks) {
  const layers = [{ name: "Header", bytes: headerBytes, className: "header", state: "ok", slice: -1 }];
  let slice = 0;
  for (const { name, length, state } of chunks) {
    if (name === "primary") {
      layers.push({ name: "Base", bytes: length, className: "base", state, slice: -1 });
    } else if (name === "aux_slice") {
      slice += 1; // numbers begin at 0, as in the format and in messages
      const className = `slice slice-${Math.min(slice, 4)}`;
      layers.push({ name: `Slice ${slice - 1}`, bytes: length, className, state, slice });
    } else if (name === "lossless") {
      layers.push({ name: TEXT[name], bytes: length, className: "slice slice-2", state, slice: 1 });
    } else {
      layers.push({ name: TEXT[name] ?? name, bytes: length, className: "other", state, slice: -1 });
    }
  }
  return layers;
}

/**
 * Shows layers; those that are left out, or cannot be used, are faint.
 * @param {HTMLElement} bar @param {HTMLElement} list @param {Layer[]} layers
 * @param {number} slices how many are asked for @param {number} usable how many of them are whole
 */
export function showLayers(bar, list, layers, slices, usable) {
  const isUsed = (/** @type {Layer} */ layer) => layer.slice <= Math.min(slices, usable) && layer.state === "ok";
  bar.replaceChildren(
    ...layers.map((layer) => {
      const part = document.createElement("span");
      part.className = `part ${layer.className}`;
      part.style.flexGrow = String(layer.bytes);
      part.dataset.used = String(isUsed(layer));
      part.title = `${layer.name}: ${bytesOf(layer.bytes)}`;
      return part;
    }),
  );
  list.replaceChildren(
    ...layers.map((layer) => {
      const item = document.createElement("li");
      item.dataset.used = String(isUsed(layer));
      item.dataset.state = layer.state;
      const key = document.createElement("span");
      key.className = `key ${layer.className}`;
      const name = document.createElement("span");
      name.textContent = layer.state === "ok" ? layer.name : `${layer.name} · ${layer.state}`;
      const bytes = document.createElement("span");
      bytes.className = "number";
      bytes.textContent = bytesOf(layer.bytes);
      item.append(key, name, bytes);
      return item;
    }),
  );
}

/** Returns how many bytes layers take up to a number of slices. @param {Layer[]} layers @param {number} slices */
export function bytesUpTo(layers, slices) {
  return layers.filter((layer) => layer.slice <= slices).reduce((sum, { bytes }) => sum + bytes, 0);
}
