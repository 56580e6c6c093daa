// What can go wrong with a stream or a picture, by the names that the Python package has for it.

/** Says what is wrong, in one sentence for people; `kind` is the name of the error, such as "CorruptError". */
export class CodecError extends Error {
  /** @param {string} kind @param {string} message */
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

/** Makes of anything thrown what can be sent to another thread. @param {unknown} error */
export function toPlain(error) {
  if (error instanceof CodecError) return { kind: error.kind, message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return { kind: "InternalError", message };
}
