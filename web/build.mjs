// Puts the page together in web/dist: what is in src, ONNX Runtime Web, the compiled coder and the shipped bundle.
// `make web` runs it, after `npm install`. emcc is the compiler of Emscripten; EMCC names another one.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const dist = join(here, "dist");
const ort = join(here, "node_modules", "onnxruntime-web");
const RUNTIMES = [
  "ort.wasm.min.mjs",
  "ort-wasm-simd-threaded.mjs",
  "ort-wasm-simd-threaded.wasm",
  "ort.webgpu.min.mjs",
  "ort-wasm-simd-threaded.asyncify.mjs",
  "ort-wasm-simd-threaded.asyncify.wasm",
];
const GRAPHS = ["decode_base", "decode_people", "decode_full", "encode_full", "encode_base"];
const NOT_OF_THE_LIBRARY = ["module.cpp"]; // the Python module

/** Returns the names of all functions that a header declares. */
function exported(header) {
  return [...readFileSync(header, "utf8").matchAll(/\b(rdc_\w+)\(/g)].map(([, name]) => `_${name}`);
}

function sources(folder) {
  const names = readdirSync(join(root, "kernels", folder));
  return names.filter((name) => name.endsWith(".cpp") && !NOT_OF_THE_LIBRARY.includes(name))
    .map((name) => join(root, "kernels", folder, name));
}

/** Compiles the C API to coder/rdc.mjs and coder/rdc.wasm. */
function compile() {
  const functions = [...new Set(exported(join(root, "kernels", "c_api", "rdc.h")))];
  const settings = {
    EXPORTED_FUNCTIONS: [...functions, "_malloc", "_free"].join(),
    ALLOW_MEMORY_GROWTH: 1,
    MAXIMUM_MEMORY: "4GB",
    ABORTING_MALLOC: 0,
    WASM_BIGINT: 1,
    MODULARIZE: 1,
    EXPORT_ES6: 1,
    USE_ES6_IMPORT_META: 1,
    ENVIRONMENT: "worker",
    FILESYSTEM: 0,
  };
  mkdirSync(join(dist, "coder"));
  execFileSync(
    process.env.EMCC ?? "emcc",
    [
      ...["-O3", "-std=c++17", "-fexceptions", "-msimd128", "--no-entry"],
      ...Object.entries(settings).map(([name, value]) => `-s${name}=${value}`),
      ...[...sources("c_api"), ...sources("entropy_coder")],
      ...["-o", join(dist, "coder", "rdc.mjs")],
    ],
    // Debian's emscripten finds its own libraries with Debian's node alone, unless it is told where they are.
    { stdio: ["ignore", "inherit", "inherit"], env: { NODE_PATH: "/usr/share/nodejs", ...process.env } },
  );
}

/** Copies what decoding and encoding need of the shipped bundle. */
function copyBundle() {
  const bundle = join(root, "src", "rdc_codec", "bundle");
  const { graphs } = JSON.parse(readFileSync(join(bundle, "manifest.json"), "utf8"));
  const files = GRAPHS.filter((name) => name in graphs).map((name) => graphs[name].file);
  for (const name of ["manifest.json", "tables.npz", "weights.bin", ...files]) {
    cpSync(join(bundle, name), join(dist, "bundle", name));
  }
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);
for (const name of ["index.html", "style.css", "icon.svg", "sample.jpg"]) cpSync(join(here, name), join(dist, name));
cpSync(join(here, "src"), dist, { recursive: true });
for (const name of RUNTIMES) cpSync(join(ort, "dist", name), join(dist, "ort", name));
const { name, version, license } = JSON.parse(readFileSync(join(ort, "package.json"), "utf8"));
writeFileSync(join(dist, "ort", "LICENSE.txt"), `${name} ${version}, Copyright (c) Microsoft Corporation. Licence: ${license}.\n`);
copyBundle();
compile();
