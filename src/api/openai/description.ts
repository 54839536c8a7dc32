/** The description of OpenAI's paths. */

import { TOP_LOGPROBS_MAX } from "../../engine/symbols.ts";
import { REASONING_FORMATS } from "../../serving/state.ts";
import { TEXTS_MAX } from "../embeddings.ts";
import {
  array,
  boolean,
  type Described,
  get,
  integer,
  number,
  object,
  orNull,
  post,
  ref,
  type Schema,
  said,
  string,
  whole,
  within,
} from "../openapi.ts";
import {
  anyPrompt,
  commonParameters,
  formParameters,
  logitBias,
  samplingParameters,
  streamParameters,
} from "../shared_description.ts";
import { TOOL_NAME, TOOLS_MAX } from "./tools.ts";

/** What answers of OpenAI's APIs and their chunks begin with. */
const header = (kind: string): Record<string, Schema> => ({
  id: string,
  object: { ...string, enum: [kind] },
  created: integer,
  model: string,
  system_fingerprint: string,
});
/** A chunk of a stream of them, and what whole answers look like where they have the same shape. */
const chunk = (kind: string, choice: Schema): Schema => {
  const always = { ...header(kind), choices: array(choice) };
  const sometimes = { usage: orNull(ref("Usage")), timings: ref("Timings"), prompt_progress: ref("PromptProgress") };
  return object({ ...always, ...sometimes }, Object.keys(always));
};

const namedTool = whole({ type: { ...string, enum: ["function"] }, function: whole({ name: string }) });

/** What is called, in a message. */
const called = whole({ name: string, arguments: said(string, "JSON.") });

/** What can be called. */
const callable = object(
  {
    name: { ...string, pattern: TOOL_NAME.source },
    description: orNull(string),
    parameters: orNull({ type: "object" }),
  },
  ["name"],
);

const toolChoice = orNull(
  said(
    {
      anyOf: [
        { ...string, enum: ["none", "auto", "required"] },
        namedTool,
        whole({
          type: { ...string, enum: ["allowed_tools"] },
          allowed_tools: whole({
            mode: { ...string, enum: ["auto", "required"] },
            tools: array(namedTool, { minItems: 1 }),
          }),
        }),
      ],
    },
    "'required' and a function make the answer consist of calls whose arguments are valid by the tools' schemas.",
  ),
);

const openAiParameters = {
  ...commonParameters,
  ...samplingParameters,
  ...logitBias,
  ...streamParameters,
  ...formParameters,
  n_predict: orNull(said({ ...integer, minimum: -1 }, "llama.cpp's name of max_tokens.")),
  min_tokens: orNull({ ...integer, minimum: 0 }),
  user: orNull(string),
  prompt_logprobs: orNull(
    said(
      { ...integer, ...within({ low: 0, high: TOP_LOGPROBS_MAX }) },
      "Likeliest tokens in each place of the prompt, beside its own; not with stream.",
    ),
  ),
  truncate_prompt_tokens: orNull(
    said({ ...integer, minimum: -1 }, "Tokens of a longer prompt that are kept; -1: as many as fit."),
  ),
  truncation_side: orNull(said({ ...string, enum: ["left", "right"] }, "Where it is cut. Absent: left.")),
};

/** Parameters of everything that goes through the model's chat template. */
export const templateParameters = {
  tools: orNull(array(ref("Tool"), { maxItems: TOOLS_MAX })),
  tool_choice: toolChoice,
  parallel_tool_calls: orNull(boolean),
  functions: orNull(said(array(callable, { maxItems: TOOLS_MAX }), "The older form of tools.")),
  function_call: orNull({ anyOf: [{ ...string, enum: ["none", "auto"] }, whole({ name: string })] }),
  chat_template_kwargs: orNull(said({ type: "object" }, "Further variables of the model's template.")),
  reasoning_effort: orNull(said(string, "A variable of the template; 'none' switches thinking off, where it can be.")),
  reasoning: orNull(
    object({
      effort: orNull(string),
      enabled: orNull(boolean),
      exclude: orNull(said(boolean, "Thoughts are left out.")),
    }),
  ),
  thinking: orNull(object({ type: { ...string, enum: ["enabled", "disabled"] } }, ["type"])),
  enable_thinking: orNull(boolean),
};

const textPart = object({ type: { ...string, enum: ["text"] }, text: string }, ["type", "text"]);

/** What a whole answer to a chat always has. */
const chatAnswer: Record<string, Schema> = {
  ...header("chat.completion"),
  choices: array(
    whole({
      index: integer,
      message: object(
        {
          role: { ...string, enum: ["assistant"] },
          content: { type: ["string", "null"] },
          reasoning_content: said(string, "What the model thought before it answered."),
          refusal: { type: "null" },
          tool_calls: array(ref("ToolCall")),
          function_call: said(called, "Where the request has functions."),
        },
        ["role", "content", "refusal"],
      ),
      logprobs: orNull(ref("ChatLogprobs")),
      finish_reason: { ...string, enum: ["stop", "length", "tool_calls", "function_call"] },
    }),
  ),
  usage: ref("Usage"),
  timings: ref("Timings"),
};

/** What each text of a completion always has. */
const completionChoice: Record<string, Schema> = {
  text: string,
  index: integer,
  logprobs: orNull(ref("CompletionLogprobs")),
  finish_reason: { type: ["string", "null"], enum: ["stop", "length", null] },
};

export const openAiDescription: Described = {
  schemas: {
    Usage: object(
      {
        prompt_tokens: integer,
        completion_tokens: integer,
        total_tokens: integer,
        prompt_tokens_details: whole({ cached_tokens: integer }),
        completion_tokens_details: said(whole({ reasoning_tokens: integer }), "Of models that think."),
      },
      ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details"],
    ),
    Message: object(
      {
        role: { ...string, enum: ["system", "developer", "user", "assistant", "tool", "function"] },
        content: { anyOf: [string, array(textPart), { type: "null" }] },
        reasoning_content: orNull(said(string, "Of the assistant; for templates that take it. Also: reasoning.")),
        reasoning: orNull(string),
        name: orNull(string),
        tool_call_id: orNull(string),
        tool_calls: array(ref("ToolCall")),
        function_call: orNull(called),
      },
      ["role"],
    ),
    ToolCall: object(
      {
        id: string,
        type: { ...string, enum: ["function"] },
        function: called,
      },
      ["function"],
    ),
    Tool: whole({
      type: { ...string, enum: ["function"] },
      function: callable,
    }),
    ChatRequest: object(
      {
        messages: said(
          array(ref("Message"), { minItems: 1 }),
          "A last message of the assistant is continued rather than answered.",
        ),
        ...openAiParameters,
        max_tokens: orNull({ ...integer, minimum: 1 }),
        max_completion_tokens: orNull(said({ ...integer, minimum: 1 }, "Absent: to the end of the context.")),
        logprobs: orNull(boolean),
        top_logprobs: orNull(
          said({ ...integer, ...within({ low: 0, high: TOP_LOGPROBS_MAX }) }, "Only with logprobs."),
        ),
        ...templateParameters,
        reasoning_format: orNull({ ...string, enum: [...REASONING_FORMATS] }),
        separate_reasoning: orNull(said(boolean, "false: the same as the format 'none'.")),
        include_reasoning: orNull(said(boolean, "false: thoughts are left out.")),
      },
      ["messages"],
    ),
    ChatLogprobs: whole({
      content: array(
        whole({
          token: string,
          logprob: number,
          bytes: array(integer),
          top_logprobs: array(whole({ token: string, logprob: number, bytes: array(integer) })),
        }),
      ),
      refusal: { type: "null" },
    }),
    ChatAnswer: object({ ...chatAnswer, prompt_logprobs: ref("PromptLogprobs") }, Object.keys(chatAnswer)),
    ChatChunk: chunk(
      "chat.completion.chunk",
      whole({
        index: integer,
        delta: object({
          role: { ...string, enum: ["assistant"] },
          content: string,
          reasoning_content: string,
          tool_calls: array(
            object({ index: integer, id: string, type: string, function: { type: "object" } }, ["index"]),
          ),
          function_call: { type: "object" },
        }),
        logprobs: orNull(ref("ChatLogprobs")),
        finish_reason: { type: ["string", "null"] },
      }),
    ),
    EmbeddingsRequest: object(
      {
        input: anyPrompt(TEXTS_MAX),
        model: orNull(string),
        encoding_format: orNull({ ...string, enum: ["float", "base64"] }),
        dimensions: orNull(said({ ...integer, minimum: 1 }, "Only as many as the model's embeddings have.")),
        user: orNull(string),
      },
      ["input"],
    ),
    EmbeddingsAnswer: whole({
      object: { ...string, enum: ["list"] },
      data: array(
        whole({
          object: { ...string, enum: ["embedding"] },
          index: integer,
          embedding: { anyOf: [array(number), string], description: "Little-endian floats, where it is base64." },
        }),
      ),
      model: string,
      usage: whole({ prompt_tokens: integer, total_tokens: integer }),
    }),
    CompletionRequest: object(
      {
        prompt: anyPrompt(),
        ...openAiParameters,
        max_tokens: orNull(
          said({ ...integer, minimum: 0 }, "Absent: to the end of the context. 0 with echo: scores only."),
        ),
        max_completion_tokens: orNull({ ...integer, minimum: 0 }),
        echo: orNull(boolean),
        add_special_tokens: orNull(said(boolean, "false: texts get no beginning-of-text token.")),
        logprobs: orNull(
          said(
            { ...integer, ...within({ low: 0, high: TOP_LOGPROBS_MAX }) },
            "Likeliest tokens beside the chosen one.",
          ),
        ),
        best_of: orNull(said(integer, "Only the same as n.")),
        suffix: orNull({ ...string, enum: [""] }),
      },
      ["prompt"],
    ),
    PromptLogprobs: array(
      orNull({
        type: "object",
        description: "The likeliest tokens in the place, and its own, by their ids.",
        additionalProperties: whole({ logprob: number, rank: integer, decoded_token: string }),
      }),
    ),
    CompletionLogprobs: whole({
      tokens: array(string),
      token_logprobs: array({ type: ["number", "null"] }),
      top_logprobs: array(orNull({ type: "object", additionalProperties: number })),
      text_offset: array(integer),
    }),
    CompletionAnswer: chunk(
      "text_completion",
      object({ ...completionChoice, prompt_logprobs: ref("PromptLogprobs") }, Object.keys(completionChoice)),
    ),
    Model: whole({
      id: string,
      object: { ...string, enum: ["model"] },
      created: integer,
      owned_by: string,
      root: string,
      parent: { type: "null" },
      max_model_len: integer,
      meta: { type: "object" },
    }),
    ModelList: whole({ object: { ...string, enum: ["list"] }, data: array(ref("Model")) }),
  },
  paths: {
    "/v1/chat/completions": {
      post: post("createChatCompletion", "Answers a chat.", "ChatRequest", ref("ChatAnswer"), ref("ChatChunk")),
    },
    "/v1/completions": {
      post: post(
        "createCompletion",
        "Continues texts, and scores them.",
        "CompletionRequest",
        ref("CompletionAnswer"),
        ref("CompletionAnswer"),
      ),
    },
    "/v1/embeddings": {
      post: post(
        "createEmbeddings",
        "Vectors of length 1 for texts, by an embedding model.",
        "EmbeddingsRequest",
        ref("EmbeddingsAnswer"),
      ),
    },
    "/v1/models": { get: get("listModels", "The model that is served.", ref("ModelList"), ["401", "403", "503"]) },
    "/v1/models/{model}": {
      get: {
        ...get("retrieveModel", "The model's facts.", ref("Model"), ["401", "403", "404", "503"]),
        parameters: [{ name: "model", in: "path", required: true, schema: string }],
      },
    },
  },
};
