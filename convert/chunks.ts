/** Reads tensors in pieces of bounded size, so that the memory in use does not depend on a model's. */

import { tensorFailure } from "../src/model_file/safetensors.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { encodedBytes, inseparableRows, storedColumns, storedRows } from "./encodings.ts";
import type { CheckpointTensor } from "./source_tensor.ts";

/** A piece of a source tensor. */
export interface Chunk {
  /** The first row in it. */
  row: number;
  rows: number;
  bytes: Uint8Array;
}

/** A buffer for readChunks: of `limit` bytes, or fewer if no tensor has more, or more if there are rows that can't be read in parts. */
export function chunkBuffer({ tensors }: Checkpoint, limit: number): Uint8Array {
  let least = 0;
  let most = 0;
  for (const tensor of tensors.values()) {
    least = Math.max(least, rowsBytes(tensor, inseparableRows(tensor)));
    most = Math.max(most, tensor.bytes);
  }
  return new Uint8Array(Math.max(least, Math.min(limit, most)));
}

/** Bytes of some of a tensor's rows, as it is stored. */
function rowsBytes(tensor: CheckpointTensor, rows: number): number {
  return encodedBytes(tensor.dtype, rows * storedColumns(tensor));
}

/** One of the matrices of which a tensor consists, `rows` rows each. */
export function partOf(source: CheckpointTensor, index: number, rows: number): CheckpointTensor {
  const size = rowsBytes(source, rows);
  return {
    ...source,
    name: `${source.name} (expert ${index})`,
    shape: [rows, storedColumns(source)],
    bytes: size,
    read: (position, target) => source.read(index * size + position, target),
  };
}

/** Reads a tensor in pieces of whole rows, all into the same buffer: a piece is gone when the next one is read. */
export function* readChunks(source: CheckpointTensor, buffer: Uint8Array): Generator<Chunk> {
  const rows = storedRows(source);
  const unit = inseparableRows(source);
  const chunkRows = Math.floor(buffer.length / rowsBytes(source, unit)) * unit;
  for (let row = 0; row < rows; row += chunkRows) {
    const count = Math.min(chunkRows, rows - row);
    const bytes = buffer.subarray(0, rowsBytes(source, count));
    source.read(rowsBytes(source, row), bytes);
    yield { row, rows: count, bytes };
  }
}

/** Names the file and the tensor in whatever fault `work` finds in its bytes. */
export function namingTensor<Result>({ file, name }: CheckpointTensor, chunk: Chunk, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    const place = chunk.row > 0 ? ` (rows counted from row ${chunk.row})` : "";
    throw tensorFailure(file, name, `${(error as Error).message}${place}`);
  }
}
