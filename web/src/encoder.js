// A picture becomes a stream: the graph encode_full makes symbols, the coder bytes of them.

import { writeAlpha } from "./attachments.js";
import { size, TYPES } from "./coder.js";
import { number } from "./networks.js";
import { toTensor } from "./pixels.js";
import { ENCODE_MARGIN, paste, plan } from "./windows.js";

const UNITS = { z1: 1, y1: 4, z2: 1, y2: 4 }; // places in a stride
const NAMES = /** @type {const} */ (["z1", "y1", "z2", "y2"]);

/**
 * Returns the stream of a picture.
 * @param {import("./coder.js").Coder} coder @param {import("./networks.js").Networks} networks
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA
 * @param {number} quality 0 to 100 @param {number} slices auxiliary slices to write
 * @param {(share: number) => void} [progress]
 */
export async function encode(coder, networks, { data, width, height }, quality, slices, progress = () => {}) {
  const qualities = coder.qualities(quality);
  const levels = {
    base_level: number(coder.level(1, qualities.baseQuality)),
    aux_level: number(coder.slices ? coder.level(2, qualities.auxQuality) : 0),
  };
  const shapes = coder.shapes(width, height);
  const planes = /** @type {import("./coder.js").Planes} */ (
    Object.fromEntries(NAMES.map((name) => [name, new Int32Array(size(shapes[name]))]))
  );
  const windows = plan(width, height, ENCODE_MARGIN);
  for (const [index, window] of windows.entries()) {
    progress(index / windows.length);
    const pixels = toTensor(data, width, height, window);
    const made = await networks.run(coder.slices ? "encode_full" : "encode_base", { pixels, ...levels });
    for (const name of NAMES) {
      if (made[name]) paste(planes[name], shapes[name], window, UNITS[name], made[name]);
    }
  }
  const alpha = await writeAlpha(data, width, height);
  const contents = alpha ? [{ type: TYPES.ALPHA, data: alpha }] : [];
  return coder.write({ width, height, ...qualities }, planes, slices, contents);
}
