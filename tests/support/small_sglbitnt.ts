/** Makes files of the original system for tests. */

import { encodeTernary, ggufModel, shape, tensorNames } from "./gguf_model.ts";

const u32 = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);
const u64 = (value: number) => new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
const text = (value: string) => {
  const bytes = new TextEncoder().encode(value);
  return Buffer.concat([u32(bytes.length), bytes]);
};

/** The bytes of a small LlamaForCausalLM. */
export function encodeSglbitnt(): Uint8Array {
  const { vocabulary, hidden, ffn, heads, kvHeads, headDim, layers } = shape;
  const config = {
    architectures: ["LlamaForCausalLM"],
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: ffn,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    max_position_embeddings: 128,
    rope_theta: 10000,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_id: 2,
  };
  const { tensors, matrices } = ggufModel("llama", "I2_S");
  const pieces: Uint8Array[] = [
    new TextEncoder().encode("SGLBITNT"),
    u32(1),
    text(JSON.stringify(config)),
    u32(tensors.size),
  ];
  for (const [theirs, { shape: dimensions, bytes }] of tensors) {
    const name = tensorNames.reduce(
      (found, [from, to]) => (from === "output." ? found : found.replace(from, to)),
      theirs,
    );
    const matrix = matrices.get(theirs);
    pieces.push(text(name));
    if (matrix === undefined) {
      pieces.push(u32(1), u32(dimensions.length), ...dimensions.map(u32), u32(0), u64(bytes.length), bytes);
      continue;
    }
    const { codes, scale, rows, columns } = matrix;
    const data = encodeTernary(codes, scale, "I2_S").subarray(0, codes.length / 4);
    pieces.push(u32(0), u32(2), u32(rows), u32(columns / 4), u32(1), new Uint8Array(Float32Array.of(scale).buffer));
    pieces.push(u64(data.length), data);
  }
  return Buffer.concat(pieces);
}
