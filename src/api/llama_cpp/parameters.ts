/** What becomes of the parameters of llama.cpp's paths, some of which vLLM has as well. */

import { chatTable } from "../openai/parameters.ts";
import { all, formTable, generationTable, type ParameterTable, refuse, requestTable } from "../parameters.ts";

/** Of POST /completion. */
export const completionTable: ParameterTable = {
  ...generationTable,
  ...formTable,
  ...requestTable,
  ...all("followed", "prompt", "n_predict", "max_tokens", "max_completion_tokens", "min_tokens"),
  ...all("followed", "n_probs", "logprobs", "return_tokens", "return_progress"),
  prompt_logprobs: refuse("use it in /v1/completions"),
  samplers: "followed",
  stream_options: "followed",
  echo: refuse("the answer has the prompt in a field of its own"),
};

/** Parameters of chats that say how messages become a prompt. */
const templateTable: ParameterTable = Object.fromEntries(
  [
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "chat_template_kwargs",
    "chat_template",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "generation_prompt",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "enable_thinking",
    "functions",
    "function_call",
    "media_io_kwargs",
    "mm_processor_kwargs",
  ].map((name) => [name, chatTable[name] ?? "harmless"]),
);

/** Of POST /tokenize. */
export const tokenizeTable: ParameterTable = {
  ...templateTable,
  ...all("followed", "model", "content", "prompt", "add_special", "add_special_tokens"),
  ...all("followed", "with_pieces", "return_token_strs", "parse_special"),
};

/** Of POST /detokenize. */
export const detokenizeTable: ParameterTable = all("followed", "model", "tokens");

/** Of POST /apply-template. */
export const applyTemplateTable: ParameterTable = { ...templateTable, ...all("followed", "model") };

/** Of POST /embedding. */
export const embeddingTable: ParameterTable = all("followed", "model", "content", "input", "embd_normalize");
