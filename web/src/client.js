// The page's side of the worker: calls that return promises.

import { CodecError } from "./errors.js";

export class Client {
  /** @param {(status: string, share?: number) => void} [onStatus] is told what the worker is doing */
  constructor(onStatus = () => {}) {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    /** @type {Map<number, {resolve: (result: any) => void, reject: (error: CodecError) => void}>} */
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data: { id, result, error, status, share } }) => {
      if (id === undefined) return onStatus(status, share);
      const call = this.waiting.get(id);
      this.waiting.delete(id);
      if (error) call?.reject(new CodecError(error.kind, error.message));
      else call?.resolve(result);
    };
    this.worker.onerror = (event) => {
      for (const call of this.waiting.values()) call.reject(new CodecError("InternalError", event.message ?? "the worker ended"));
      this.waiting.clear();
    };
  }

  /**
   * Calls a method of the worker (worker.js has them). Throws CodecError.
   * @param {string} method @param {object} [argument] @param {Transferable[]} [transfer] @returns {Promise<any>}
   */
  call(method, argument = {}, transfer = []) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, argument }, transfer);
    });
  }
}

/** Says where the bundle is and what runs it, as the page's address asks for: ?bundle=, ?backend=, ?threads=. */
export function optionsOf(/** @type {URL} */ address) {
  const query = address.searchParams;
  const folder = new URL(query.get("bundle") ?? "./bundle/", address).href;
  return {
    bundle: folder.endsWith("/") ? folder : `${folder}/`,
    backend: query.get("backend") ?? "auto",
    threads: Number(query.get("threads") ?? 0),
  };
}
