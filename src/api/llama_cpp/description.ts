/** The description of llama.cpp's paths, some of them vLLM's as well. */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import { TEXTS_MAX } from "../embeddings.ts";
import { templateParameters } from "../openai/description.ts";
import {
  array,
  boolean,
  type Described,
  integer,
  number,
  object,
  orNull,
  post,
  ref,
  said,
  string,
  whole,
  within,
} from "../openapi.ts";
import { BOUNDS } from "../sampling.ts";
import {
  anyPrompt,
  commonParameters,
  formParameters,
  samplingParameters,
  streamParameters,
  tokenId,
} from "../shared_description.ts";
import { NORMS } from "./embedding.ts";
import { TOKENS_MAX } from "./tokenize.ts";

export const llamaCppDescription: Described = {
  schemas: {
    EmbeddingRequest: object({
      content: said(anyPrompt(TEXTS_MAX), "Or `input`."),
      input: anyPrompt(TEXTS_MAX),
      model: orNull(string),
      embd_normalize: orNull(
        said({ ...integer, ...within(NORMS) }, "-1: as it is. 0: by the largest magnitude. p: by the p-norm."),
      ),
    }),
    EmbeddingAnswer: array(whole({ index: integer, embedding: array(array(number)) })),
    LlamaRequest: object(
      {
        prompt: anyPrompt(),
        ...commonParameters,
        ...samplingParameters,
        ...formParameters,
        n_predict: orNull(said({ ...integer, minimum: -1 }, "-1: to the end of the context.")),
        n_probs: orNull({ ...integer, ...within({ low: 0, high: TOP_LOGPROBS_MAX }) }),
        logit_bias: orNull({
          anyOf: [
            {
              type: "object",
              additionalProperties: {
                anyOf: [
                  { ...number, ...within(BOUNDS.bias) },
                  { ...boolean, enum: [false] },
                ],
              },
            },
            array(array({ type: ["number", "string", "boolean"] }, { minItems: 2, maxItems: 2 })),
          ],
          description:
            "Pairs of a token id or a text and a bias, or an object of them; a text's bias is for each of its tokens, false forbids.",
        }),
        min_tokens: orNull({ ...integer, minimum: 0 }),
        max_tokens: orNull(said({ ...integer, minimum: 0 }, "The same as n_predict.")),
        max_completion_tokens: orNull({ ...integer, minimum: 0 }),
        logprobs: orNull(said({ ...integer, ...within({ low: 0, high: TOP_LOGPROBS_MAX }) }, "The same as n_probs.")),
        ...streamParameters,
        samplers: orNull(
          said(
            { anyOf: [array(string), string] },
            "The samplers that are applied, by name or as letters; the others are switched off. The temperature may stand in any place behind the penalties.",
          ),
        ),
        return_tokens: orNull(boolean),
      },
      ["prompt"],
    ),
    LlamaAnswer: object(
      {
        index: integer,
        content: string,
        tokens: array(integer),
        stop: boolean,
        id_slot: integer,
        model: string,
        prompt: string,
        tokens_predicted: integer,
        tokens_evaluated: integer,
        tokens_cached: integer,
        generation_settings: { type: "object" },
        has_new_line: boolean,
        truncated: boolean,
        stop_type: { ...string, enum: ["eos", "word", "limit"] },
        stopping_word: string,
        timings: ref("Timings"),
        completion_probabilities: array({ type: "object" }),
        prompt_progress: ref("PromptProgress"),
      },
      ["index", "content", "tokens", "stop", "id_slot", "tokens_predicted", "tokens_evaluated"],
    ),
    TokenizeRequest: object({
      content: orNull(said(string, "Encoded as it is.")),
      prompt: orNull(said(string, "Encoded with the tokens that the tokenizer puts before every text.")),
      messages: said(array(ref("Message")), "Go through the chat template first."),
      model: orNull(string),
      add_special: orNull(boolean),
      add_special_tokens: orNull(boolean),
      with_pieces: orNull(boolean),
      parse_special: orNull(said(boolean, "false: control tokens that content or prompt spells are characters.")),
      return_token_strs: orNull(boolean),
      ...templateParameters,
    }),
    TokenizeAnswer: object(
      {
        tokens: array({
          anyOf: [integer, whole({ id: integer, piece: { anyOf: [string, array(integer)] } })],
        }),
        token_strs: array(string),
        count: integer,
        max_model_len: integer,
      },
      ["tokens", "count", "max_model_len"],
    ),
    DetokenizeRequest: object({ tokens: array(tokenId, { maxItems: TOKENS_MAX }), model: orNull(string) }, ["tokens"]),
    DetokenizeAnswer: whole({ content: string, prompt: string }),
    TemplateRequest: object(
      {
        messages: array(ref("Message"), { minItems: 1 }),
        model: orNull(string),
        ...templateParameters,
      },
      ["messages"],
    ),
    TemplateAnswer: whole({ prompt: string }),
  },
  paths: {
    "/completion": {
      post: post(
        "llamaCompletion",
        "Continues a text, in llama.cpp's shape.",
        "LlamaRequest",
        { anyOf: [ref("LlamaAnswer"), array(ref("LlamaAnswer"))] },
        ref("LlamaAnswer"),
      ),
    },
    "/embedding": {
      post: post("embed", "Vectors for texts, by an embedding model.", "EmbeddingRequest", ref("EmbeddingAnswer")),
    },
    "/tokenize": { post: post("tokenize", "A text's token ids.", "TokenizeRequest", ref("TokenizeAnswer")) },
    "/detokenize": { post: post("detokenize", "The text of ids.", "DetokenizeRequest", ref("DetokenizeAnswer")) },
    "/apply-template": {
      post: post("applyTemplate", "The prompt that messages become.", "TemplateRequest", ref("TemplateAnswer")),
    },
  },
};
