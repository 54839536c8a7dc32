/** A packed model, open in the library. */

import { Failure } from "../errors.ts";
import { checked, cString, library, type Pointer } from "./library.ts";
import { type OnProgress, onThread } from "./task.ts";

/** A model. Immutable; may serve any number of engines. */
export class Model {
  #handle: Pointer | undefined;

  private constructor(handle: Pointer) {
    this.#handle = handle;
  }

  /**
   * Maps a packed file. What of it every token needs is read meanwhile, which takes as long as the disk takes.
   *
   * @param onProgress told how far that is.
   * @param memory bytes that this process may have, 0 for all that the machine has. A file that fills them is not read in advance.
   * @throws Failure with one line that names the file and the fault.
   */
  static async open(path: string, onProgress?: OnProgress, memory = 0): Promise<Model> {
    return new Model(
      await onThread(
        (error, size) => library().wf_model_open_begin(cString(path), BigInt(memory), error, size),
        (task, error, size) => library().wf_model_open_end(task, error, size),
        onProgress,
      ),
    );
  }

  /** The same from bytes, which are copied. `name` stands for the path in messages. */
  static fromBytes(bytes: Uint8Array, name: string): Model {
    return new Model(
      checked(
        (error, size) => library().wf_model_open_bytes(bytes, bytes.length, cString(name), error, size),
        (result) => result === null,
      ) as Pointer,
    );
  }

  /**
   * A model that was never trained, with random weights in memory, to measure with.
   *
   * @param header The first bytes of a packed file, up to its tensors.
   * @param size Bytes that the whole file would have.
   * @param zeros Share of the FFN's gates that are not positive, 0 to 1; half of them are not anyhow.
   * @param name Stands for the path in messages.
   * @throws Failure when the header is no packed model's or memory is lacking.
   */
  static random(header: Uint8Array, size: number, zeros: number, name: string): Model {
    return new Model(
      checked(
        (error, errorSize) =>
          library().wf_model_open_random(header, header.length, size, zeros, cString(name), error, errorSize),
        (result) => result === null,
      ) as Pointer,
    );
  }

  /**
   * What the library knows it by.
   *
   * @throws Failure when it is closed.
   */
  get handle(): Pointer {
    if (this.#handle === undefined) throw new Failure("the model is closed");
    return this.#handle;
  }

  /**
   * The logits of every position of a prompt, computed while the caller waits: for tests and checks.
   *
   * @param vocabularySize The model's, which the caller read from the packed file.
   * @returns [tokens][vocabularySize]
   */
  logits(tokens: Uint32Array, threads: number, vocabularySize: number): Float32Array {
    const logits = new Float32Array(tokens.length * vocabularySize);
    checked(
      (error, size) => library().wf_model_logits(this.handle, threads, tokens, tokens.length, logits, error, size),
      (result) => result !== 0,
    );
    return logits;
  }

  /** Gives the model up; its memory goes when no engine uses it any more. */
  close(): void {
    if (this.#handle !== undefined) library().wf_model_close(this.#handle);
    this.#handle = undefined;
  }
}
