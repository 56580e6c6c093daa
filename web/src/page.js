// The page: what is dropped becomes a picture, and sliders change it.

import { Client, optionsOf } from "./client.js";
import { CodecError } from "./errors.js";
import { bytesUpTo, layersOf, showLayers } from "./layers.js";
import { psnr } from "./pixels.js";
import { bytesOf, decibel, qualityOf, seconds } from "./text.js";
import { Viewer } from "./viewer.js";

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
const element = (id) => /** @type {T} */ (document.getElementById(id));
const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (element(id));
const SAMPLE = "sample.jpg";
const BUSY_AFTER = 150; // milliseconds, so that what is short does not flicker

const client = new Client(showStatus);
const viewer = new Viewer(element("canvas"), showView);

/** What is open: as the worker describes it, with its name and layers; null before. */
let stream = /** @type {any} */ (null);
let started = /** @type {Promise<any> | null} */ (null);
let pictures = /** @type {Map<number, ImageBitmap>} */ (new Map()); // by their number of slices
let sums = /** @type {Map<number, any>} */ (new Map()); // of errors, likewise
let source = ""; // name of the picture that the stream was made of here; empty for a stream that was opened
let latest = 0; // number of the newest wish; what older ones bring is not shown

// ------------------------------------------------------------------------------------------------ what is being done

let busyTimer = 0;

/** @param {string} status @param {number} [share] */
function showStatus(status, share) {
  element("status").textContent = status;
  const progress = /** @type {HTMLProgressElement} */ (element("progress"));
  if (share === undefined || share === 0) progress.removeAttribute("value");
  else progress.value = share;
}

/** Shows that something is done, and what went wrong with it. @param {() => Promise<void>} work */
async function busily(work) {
  const number = ++latest;
  clearTimeout(busyTimer);
  busyTimer = window.setTimeout(() => (element("busy").hidden = false), BUSY_AFTER);
  document.body.dataset.state = "busy";
  try {
    await work();
  } catch (error) {
    if (number === latest) {
      showProblem(titleOf(error), [error instanceof Error ? error.message : String(error)]);
      element("nothing").hidden = Boolean(viewer.base);
      element("empty").hidden = true;
    }
  } finally {
    if (number === latest) {
      clearTimeout(busyTimer);
      element("busy").hidden = true;
      document.body.dataset.state = "ready";
    }
  }
}

/** @param {unknown} error */
function titleOf(error) {
  const kind = error instanceof CodecError ? error.kind : "InternalError";
  /** @type {Record<string, string>} */
  const titles = {
    TruncatedError: "This stream is cut off",
    CorruptError: "This stream is damaged",
    UnsupportedError: "This page cannot read the stream",
    WrongModelError: "This stream is of another model",
    LimitError: "This is too large",
    InputError: "This cannot be opened",
  };
  return titles[kind] ?? "Something went wrong";
}

/** @param {string} title empty: there is none @param {string[]} [lines] */
function showProblem(title, lines = []) {
  element("problem").hidden = !title;
  if (title) document.body.classList.remove("empty");
  element("problem-title").textContent = title;
  element("problem-list").replaceChildren(
    ...lines.map((line) => Object.assign(document.createElement("li"), { textContent: line })),
  );
}

function start() {
  started ??= client.call("start", optionsOf(new URL(location.href))).then((model) => {
    element("model").textContent = `Model ${model.name} ${model.model}`;
    element("runtime").textContent = model.runsOn;
    return model;
  });
  started.catch(() => (started = null)); // the next file may find the server again
  return started;
}

// ------------------------------------------------------------------------------------------------------------- files

/** Opens what was dropped or chosen: a stream, a picture to make one of, or both. @param {File[]} files */
async function take(files) {
  const streams = files.filter((file) => isStream(file));
  const others = files.filter((file) => !isStream(file));
  if (!files.length) return;
  await busily(async () => {
    await start();
    if (streams.length) await openStream(streams[0]);
    if (others.length) await usePicture(others[0], !streams.length);
  });
}

/** @param {File} file */
function isStream(file) {
  return /\.rdc$/i.test(file.name) || !file.type.startsWith("image/");
}

/** @param {Blob & {name: string}} file */
async function openStream(file) {
  source = "";
  await forgetOriginal();
  nothing();
  await show(new Uint8Array(await file.arrayBuffer()), file.name);
}

/** Takes a picture as the original, and makes a stream of it where it has none. @param {Blob & {name: string}} file @param {boolean} isNew */
async function usePicture(file, isNew) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new CodecError("InputError", `${file.name} is no picture that this browser reads`);
  }
  viewer.original?.close();
  viewer.set({ original: bitmap });
  sums.clear();
  await client.call("original", { bitmap: await createImageBitmap(bitmap) });
  const fits = stream?.header && bitmap.width === stream.header.width && bitmap.height === stream.header.height;
  if (isNew && !(fits && !source)) {
    source = file.name;
    nothing();
    await encode();
  } else if (fits) {
    element("original-note").textContent = file.name;
    await showDials();
  } else {
    element("original-note").textContent = `${file.name} is of ${bitmap.width} × ${bitmap.height} pixels, the stream is not.`;
  }
  showComparison();
}

/** @param {boolean} [again] with another quality */
async function encode(again = false) {
  const data = await client.call("encode", { quality: input("quality").valueAsNumber });
  await show(data, `${source.replace(/\.[^.]*$/, "")}.rdc`, again);
  element("original-note").textContent = source;
}

/** Shows that nothing is open. */
function nothing() {
  stream = null;
  showProblem("");
  viewer.reset(0, 0, false);
  for (const id of ["facts", "compress", "dials", "spent", "original", "zoom", "nothing"]) element(id).hidden = true;
}

async function forgetOriginal() {
  viewer.original?.close();
  viewer.set({ original: null });
  element("original-note").textContent = "Add the original to see it beside, with the PSNR.";
  await client.call("original", { bitmap: null });
}

// ----------------------------------------------------------------------------------------------------------- streams

/**
 * Shows a stream: its base first, then all of it.
 * @param {Uint8Array<ArrayBuffer>} data @param {string} name
 * @param {boolean} [again] it is of the picture that is shown, which stays until there is another one
 */
async function show(data, name, again = false) {
  const before = pictures;
  pictures = new Map();
  sums = new Map();
  stream = null;
  showProblem("");
  document.body.classList.remove("empty");
  element("empty").hidden = true;
  const opened = await client.call("open", { data });
  stream = { ...opened, name, layers: layersOf(opened.header.headerBytes, opened.chunks) };
  showFacts(data);
  const { width, height } = opened.error ? { width: 0, height: 0 } : opened.header;
  viewer.reset(width, height, again);
  viewer.set({ alpha: opened.alpha });
  for (const id of ["dials", "original", "zoom"]) element(id).hidden = Boolean(opened.error);
  element("compress").hidden = !source;
  showComparison();
  if (opened.error) {
    showLayers(element("bar"), element("layers"), stream.layers, -1, -1);
    throw new CodecError(opened.error.kind, opened.error.message);
  }
  if (opened.problems.length) showProblem("Damaged: shown without a part of it", opened.problems);
  prepareSlices(opened.slices);
  element("canvas").setAttribute("aria-label", `${name}, ${width} by ${height} pixels`);
  await showDials();
  for (const bitmap of before.values()) bitmap.close();
}

/** Lets the slider have as many steps as there are slices; where it was at the end, it stays there. @param {number} count */
function prepareSlices(count) {
  const slider = input("slices");
  const atEnd = slider.value === slider.max;
  slider.max = String(count);
  if (atEnd) slider.value = slider.max;
  slider.disabled = count === 0;
}

/** @param {Uint8Array<ArrayBuffer>} data */
function showFacts(data) {
  const { header, chunks, name } = stream;
  element("name").textContent = name;
  element("dimensions").textContent = `${header.width} × ${header.height}`;
  element("bytes").textContent = bytesOf(data.length);
  element("rate").textContent = `${((8 * data.length) / (header.width * header.height)).toFixed(3)} bits a pixel`;
  const branches = `base ${qualityOf(header.baseQuality)}, auxiliary ${qualityOf(header.auxQuality)}`;
  element("qualities").textContent = `${qualityOf(header.quality)} (${branches})`;
  if (chunks.some((/** @type {any} */ chunk) => chunk.name === "icc" && chunk.state === "ok")) {
    element("qualities").after(note("Its colour profile is not applied here."));
  } else {
    element("facts").querySelector(".note")?.remove();
  }
  const link = /** @type {HTMLAnchorElement} */ (element("download"));
  URL.revokeObjectURL(link.href);
  link.hidden = !source;
  if (source) link.href = URL.createObjectURL(new Blob([data], { type: "image/x-rdc" }));
  link.download = name;
  element("facts").hidden = element("spent").hidden = false;
}

/** @param {string} text */
function note(text) {
  document.querySelector("#facts .note")?.remove();
  return Object.assign(document.createElement("dd"), { className: "note", textContent: text });
}

// ------------------------------------------------------------------------------------------------------------- dials

/** Shows what the sliders ask for; a picture that no network has made yet comes as soon as it is there. */
async function showDials() {
  const slices = input("slices").valueAsNumber;
  const beta = input("beta").valueAsNumber;
  const layers = stream.layers;
  const isExact = stream.exact;
  input("beta").disabled = slices === 0;
  element("slices-value").textContent = slices === 0 ? "base" : isExact ? "exact" : `${slices} of ${input("slices").max} slices`;
  element("beta-value").textContent = beta.toFixed(2);
  const used = bytesUpTo(layers, slices);
  element("used").textContent = used === stream.bytes ? bytesOf(used) : `${bytesOf(used)} of ${bytesOf(stream.bytes)}`;
  showLayers(element("bar"), element("layers"), layers, slices, stream.slices);
  const current = stream;
  for (const count of slices ? [0, slices] : [0]) {
    if (!pictures.has(count)) {
      const bitmap = await client.call("picture", { slices: count });
      if (current !== stream) return bitmap.close(); // another stream came meanwhile
      pictures.set(count, bitmap);
    }
    if (slices !== input("slices").valueAsNumber) return; // the slider went on
    viewer.set({ base: pictures.get(0), full: count ? pictures.get(count) : viewer.full, beta: input("beta").valueAsNumber });
  }
  if (!slices) viewer.set({ full: null });
  await showPsnr(slices);
  await showTimings();
}

/** @param {number} slices */
async function showPsnr(slices) {
  if (viewer.original && !sums.has(slices)) sums.set(slices, await client.call("compare", { slices }));
  const known = viewer.original && sums.get(slices);
  element("psnr").textContent = known ? decibel(psnr(known, slices ? input("beta").valueAsNumber : 1)) : "";
}

async function showTimings() {
  const { runsOn, milliseconds: timings } = await client.call("timings");
  element("runtime").textContent = runsOn;
  const names = /** @type {[string, string][]} */ ([
    ["decode_base", "base"],
    ["decode_people", "full"],
    ["encode_full", "encoding"],
  ]);
  const known = names.filter(([graph]) => graph in timings).map(([graph, name]) => `${name} ${seconds(timings[graph])}`);
  element("timings").textContent = known.length ? `Networks: ${known.join(", ")}` : "";
}

// -------------------------------------------------------------------------------------------------------------- view

function showView() {
  element("scale").textContent = `${Math.round(viewer.scale * 100)} %`;
  const { share, stacked } = viewer.split;
  const captions = element("captions");
  captions.hidden = !viewer.compares;
  captions.dataset.stacked = String(stacked);
  captions.style.setProperty("--share", `${share * 100}%`);
  input("divider").value = String(viewer.divider);
}

function showComparison() {
  const { original, size } = viewer;
  const fits = original !== null && original.width === size.width && original.height === size.height;
  element("comparison").hidden = !fits;
  element("wipe").hidden = !fits || viewer.comparison !== "wipe";
  element("add-original").hidden = source !== "";
}

function listen() {
  const file = input("file");
  for (const id of ["choose", "choose-first"]) element(id).onclick = () => file.click();
  file.onchange = () => take([...(file.files ?? [])]).finally(() => (file.value = ""));
  const originalFile = input("original-file");
  element("add-original").onclick = () => originalFile.click();
  originalFile.onchange = () => {
    const [chosen] = originalFile.files ?? [];
    if (chosen) busily(() => usePicture(chosen, false)).finally(() => (originalFile.value = ""));
  };
  element("sample").onclick = () => openAddress(SAMPLE);

  for (const id of ["slices", "beta"]) input(id).oninput = () => (id === "beta" ? showBeta() : busily(showDials));
  input("quality").oninput = () => (element("quality-value").textContent = `quality ${input("quality").value}`);
  input("quality").onchange = () => busily(() => encode(true));
  input("divider").oninput = () => viewer.set({ divider: input("divider").valueAsNumber });
  for (const radio of document.querySelectorAll("#comparison input")) {
    radio.addEventListener("change", () => {
      viewer.set({ comparison: /** @type {any} */ (radio).value });
      showComparison();
    });
  }

  element("smaller").onclick = () => viewer.zoom({ by: 1 / 1.5 });
  element("larger").onclick = () => viewer.zoom({ by: 1.5 });
  element("fit").onclick = () => viewer.fit();
  element("whole").onclick = () => viewer.zoom({ to: 1 });

  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take([...(event.dataTransfer?.files ?? [])]);
  });
  document.addEventListener("paste", (event) => take([...(event.clipboardData?.files ?? [])]));
}

/** Follows the slider of beta: no network is needed for that. */
function showBeta() {
  viewer.set({ beta: input("beta").valueAsNumber });
  element("beta-value").textContent = input("beta").valueAsNumber.toFixed(2);
  if (stream && !stream.error) showPsnr(input("slices").valueAsNumber).catch(() => {});
}

/** Opens what is at an address. @param {string} address */
function openAddress(address) {
  return busily(async () => {
    await start();
    showStatus("Loading the file");
    const response = await fetch(address).catch(() => null);
    if (!response?.ok) throw new CodecError("InputError", `${address} cannot be loaded`);
    const name = decodeURIComponent(new URL(address, location.href).pathname.split("/").pop() ?? "");
    const file = new File([await response.blob()], name, { type: response.headers.get("Content-Type") ?? "" });
    if (isStream(file)) await openStream(file);
    else await usePicture(file, true);
  });
}

listen();
const wanted = new URL(location.href).searchParams;
if (wanted.has("src")) {
  openAddress(wanted.get("src") ?? "").then(async () => {
    const original = wanted.get("original");
    if (original && stream && !source) {
      const response = await fetch(original).catch(() => null);
      if (!response?.ok) return showProblem("This cannot be opened", [`${original} cannot be loaded`]);
      const name = original.split("/").pop() ?? original;
      await busily(async () => usePicture(new File([await response.blob()], name), false));
    }
  });
}
