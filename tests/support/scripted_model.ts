/**
 * Models that say what a test has written for them. Each token follows from the one before it alone: the layers add nothing, and a row of
 * the head is the embedding of the token that it follows. So whatever the last token of a prompt is decides the whole answer.
 */

import { encodeFloats, type MemoryTensor, writeCheckpoint } from "./small_checkpoint.ts";

/** Sizes of the model. Random vectors of so many numbers hardly point the same way. */
const HIDDEN = 128;
const HEADS = 2;
const FEED_FORWARD = 128;
const CONTEXT = 1024;

/** Ends every answer. */
export const END = "<|im_end|>";

/**
 * Writes a checkpoint.
 *
 * @param scripts texts of tokens, each of which follows the one before it; the end token follows the last. Those of the form <|…|> are
 * control tokens. What stands in several scripts goes on in the same way in all of them.
 * @param chatTemplate its template.
 * @param control further control tokens.
 */
export function writeScriptedModel(
  directory: string,
  scripts: readonly string[][],
  chatTemplate: string,
  control: readonly string[] = [],
): void {
  const bytes = byteAlphabet();
  const added = [...new Set([END, ...scripts.flat()])].filter((text) => !bytes.includes(text));
  const vocabulary = [...bytes, ...added];
  const embeddings = vocabulary.map((_, id) => randomSigns(id));
  const head = vocabulary.map(() => new Float32Array(HIDDEN));
  const followers = new Map<string, string>();
  for (const script of scripts) {
    script.forEach((text, i) => {
      const next = script[i + 1] ?? END;
      if ((followers.get(text) ?? next) !== next) throw new Error(`two tokens follow ${JSON.stringify(text)}`);
      followers.set(text, next);
    });
  }
  for (const [text, next] of followers) {
    const embedding = embeddings[vocabulary.indexOf(text)] as Float32Array;
    const row = head[vocabulary.indexOf(next)] as Float32Array;
    embedding.forEach((value, i) => {
      row[i] = (row[i] as number) + value;
    });
  }

  const matrix = (rows: readonly Float32Array[]): MemoryTensor => ({
    dtype: "BF16",
    shape: [rows.length, HIDDEN],
    bytes: encodeFloats(Float32Array.from(rows.flatMap((row) => [...row])), "BF16"),
  });
  const constant = (shape: number[], value: number): MemoryTensor => ({
    dtype: "BF16",
    shape,
    bytes: encodeFloats(new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(value), "BF16"),
  });
  const layer = "model.layers.0";
  const tensors = new Map<string, MemoryTensor>([
    ["model.embed_tokens.weight", matrix(embeddings)],
    ["model.norm.weight", constant([HIDDEN], 1)],
    ["lm_head.weight", matrix(head)],
    [`${layer}.input_layernorm.weight`, constant([HIDDEN], 1)],
    [`${layer}.post_attention_layernorm.weight`, constant([HIDDEN], 1)],
    ...["q", "k", "v", "o"].map((name): [string, MemoryTensor] => [
      `${layer}.self_attn.${name}_proj.weight`,
      constant([HIDDEN, HIDDEN], 0),
    ]),
    [`${layer}.mlp.gate_proj.weight`, constant([FEED_FORWARD, HIDDEN], 0)],
    [`${layer}.mlp.up_proj.weight`, constant([FEED_FORWARD, HIDDEN], 0)],
    [`${layer}.mlp.down_proj.weight`, constant([HIDDEN, FEED_FORWARD], 0)],
  ]);
  const tokenizer = {
    version: "1.0",
    added_tokens: added.map((content, i) => ({
      id: bytes.length + i,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: /^<\|.*\|>$/.test(content) || control.includes(content),
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      unk_token: null,
      vocab: Object.fromEntries(byteNames().map((name, id) => [name, id])),
      merges: [],
    },
  };
  writeCheckpoint(directory, {
    config: {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      vocab_size: vocabulary.length,
      hidden_size: HIDDEN,
      intermediate_size: FEED_FORWARD,
      num_hidden_layers: 1,
      num_attention_heads: HEADS,
      num_key_value_heads: HEADS,
      max_position_embeddings: CONTEXT,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      hidden_act: "silu",
      tie_word_embeddings: false,
      eos_token_id: vocabulary.indexOf(END),
    },
    tensors,
    files: new Map([
      ["tokenizer.json", JSON.stringify(tokenizer)],
      ["tokenizer_config.json", JSON.stringify({ eos_token: END, chat_template: chatTemplate })],
    ]),
  });
}

/** What each byte is as a text; those that are none alone have a name that no script uses. */
function byteAlphabet(): string[] {
  return Array.from({ length: 256 }, (_, byte) => (byte < 128 ? String.fromCharCode(byte) : `byte ${byte}`));
}

/** The characters that stand for bytes in vocabularies of byte-level BPE. */
function byteNames(): string[] {
  let unprintable = 0;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(isPrintable ? byte : 256 + unprintable++);
  });
}

/** A vector of ones and minus ones that only depends on the seed. */
function randomSigns(seed: number): Float32Array {
  let state = seed + 1;
  return Float32Array.from({ length: HIDDEN }, () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    return state >>> 31 === 0 ? 1 : -1;
  });
}
