// Numbers as people read them.

const WHOLE = new Intl.NumberFormat("en");

/** @param {number} count */
export function bytesOf(count) {
  return `${WHOLE.format(count)} B`;
}

/** @param {number} value */
export function decibel(value) {
  return Number.isFinite(value) ? `${value.toFixed(2)} dB` : "identical";
}

/** Returns a quality without zeros that say nothing. @param {number} value */
export function qualityOf(value) {
  return String(Math.round(value * 10) / 10);
}

/** @param {number} milliseconds */
export function seconds(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
