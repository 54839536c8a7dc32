/**
 * The tensor types of GGUF files: their ids, and for those that are read here, how large they are. The others have a name, so that a
 * message can say what a file holds.
 */

/** The types that are read: weights of a block, bytes of a block, bytes behind the last one. */
const readable = {
  F32: { id: 0, block: 1, blockBytes: 4, tailBytes: 0 },
  F16: { id: 1, block: 1, blockBytes: 2, tailBytes: 0 },
  Q4_0: { id: 2, block: 32, blockBytes: 18, tailBytes: 0 },
  Q8_0: { id: 8, block: 32, blockBytes: 34, tailBytes: 0 },
  Q6_K: { id: 14, block: 256, blockBytes: 210, tailBytes: 0 },
  BF16: { id: 30, block: 1, blockBytes: 2, tailBytes: 0 },
  TQ1_0: { id: 34, block: 256, blockBytes: 54, tailBytes: 0 },
  TQ2_0: { id: 35, block: 256, blockBytes: 66, tailBytes: 0 },
  Q2_0: { id: 42, block: 64, blockBytes: 18, tailBytes: 0 },
  PQ2_0: { id: 142, block: 128, blockBytes: 34, tailBytes: 0 },
  PTQ1_0: { id: 143, block: 128, blockBytes: 28, tailBytes: 0 },
  /** Blocks run over the whole matrix, and one scale stands behind them. */
  I2_S: { id: 36, block: 128, blockBytes: 32, tailBytes: 32 },
} as const;

/** A tensor type that is read. */
export type GgufType = keyof typeof readable;

/** The types of ternary weights in blocks of one row, each with a scale. */
export const TERNARY_BLOCKS = ["TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "PTQ1_0"] as const satisfies GgufType[];

/** Those that are not, by id. */
const unreadable: Record<number, string> = {
  3: "Q4_1",
  6: "Q5_0",
  7: "Q5_1",
  9: "Q8_1",
  10: "Q2_K",
  11: "Q3_K",
  12: "Q4_K",
  13: "Q5_K",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  20: "IQ4_NL",
  21: "IQ3_S",
  22: "IQ2_S",
  23: "IQ4_XS",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  38: "TL1",
  39: "MXFP4",
  40: "NVFP4",
  41: "Q1_0",
};

const nameOfId = new Map(Object.entries(readable).map(([name, { id }]) => [id as number, name as GgufType]));

/**
 * The type of an id; undefined for one that is not read. Id 42 has two meanings: blocks of 64 weights, and in older files of 128, which are
 * those of PQ2_0.
 */
export function ggufTypeOfId(id: number): GgufType | undefined {
  return nameOfId.get(id);
}

/** What to call a type in a message. */
export function describeGgufType(id: number): string {
  const name = nameOfId.get(id) ?? unreadable[id];
  return name === undefined ? `of unknown type ${id}` : `of type ${name} (${id})`;
}

/** Weights of one block: the elements of a row are a multiple of it, or those of the tensor for I2_S. */
export function ggufBlockWeights(type: GgufType): number {
  return readable[type].block;
}

/** Bytes of a tensor of whole blocks. */
export function ggufTensorBytes(type: GgufType, weights: number): number {
  const { block, blockBytes, tailBytes } = readable[type];
  return (weights / block) * blockBytes + tailBytes;
}
