/**
 * What becomes of the parameters of OpenAI's paths: those of OpenAI itself, and those that vLLM, SGLang and llama.cpp take there.
 */

import type { JsonObject } from "../../json.ts";
import {
  all,
  formTable,
  generationTable,
  type ParameterTable,
  refuse,
  refuseOtherThan,
  refuseUnless,
  requestTable,
} from "../parameters.ts";

/** What both paths have. */
const openAiTable: ParameterTable = {
  ...generationTable,
  ...formTable,
  ...requestTable,
  ...all("followed", "max_tokens", "max_completion_tokens", "n_predict", "min_tokens"),
  ...all("followed", "stream_options", "return_progress", "user"),
  ...all("followed", "prompt_logprobs", "truncate_prompt_tokens", "truncation_side"),
  // OpenAI's business with its own clients.
  ...all("harmless", "metadata", "safety_identifier", "service_tier", "store"),
  ...all("harmless", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
  n_probs: refuseOtherThan(0, "use 'logprobs'"),
  // OpenAI's answers hold no ids.
  return_tokens: refuse("use /tokenize"),
};

/** Of POST /v1/chat/completions. */
export const chatTable: ParameterTable = {
  ...openAiTable,
  ...all("followed", "messages", "logprobs", "top_logprobs"),
  ...all("followed", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs"),
  ...all("followed", "functions", "function_call"),
  modalities: refuseUnless(
    "this model writes text only",
    (value) => Array.isArray(value) && value.every((modality) => modality === "text"),
  ),
  audio: refuse("this model writes text only"),
  // {} asks for a search as well.
  web_search_options: refuseUnless("this server searches nothing", (value) => value === false),
  moderation: refuse("this server judges nothing"),
  // A guess at the answer makes OpenAI's servers faster.
  prediction: "harmless",
  // How much is thought or said; of use where a model knows the words.
  verbosity: "harmless",
  ...all("followed", "reasoning_effort", "reasoning", "thinking", "enable_thinking"),
  ...all("followed", "reasoning_format", "include_reasoning", "separate_reasoning"),
  stream_reasoning: "harmless",
  echo: refuse("the answer doesn't repeat what it continues"),
  add_generation_prompt: refuseUnless(
    "a last message of the assistant is continued, any other one is answered",
    (value, body) => value === !endsWithAssistant(body),
  ),
  continue_final_message: refuseUnless(
    "a last message of the assistant is continued, any other one is answered",
    (value, body) => value === endsWithAssistant(body),
  ),
  add_special_tokens: refuse("the chat template writes them"),
  documents: refuse("put them into the messages"),
  chat_template: refuse("the model's own is used"),
  generation_prompt: refuse("the chat template writes it"),
  ...all(refuse("the server chooses it by the model"), "chat_parser", "chat_format"),
  parse_tool_calls: refuseOtherThan(true, "calls of tools are always read"),
  input_ids: refuse("use /v1/completions"),
};

/** Of POST /v1/completions. */
export const completionTable: ParameterTable = {
  ...openAiTable,
  ...all("followed", "prompt", "logprobs", "echo", "add_special_tokens"),
  suffix: refuse("this model only writes at the end of a text"),
};

function endsWithAssistant({ messages }: JsonObject): boolean {
  return Array.isArray(messages) && messages.at(-1)?.role === "assistant";
}

/** Of POST /v1/embeddings. */
export const embeddingsTable: ParameterTable = {
  ...all("followed", "model", "input", "encoding_format", "dimensions"),
  ...all("harmless", "user", "priority"),
  truncate_prompt_tokens: refuse("texts are not cut; send shorter ones"),
  add_special_tokens: refuseOtherThan(true, "send token ids"),
};
