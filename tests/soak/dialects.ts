/**
 * What of an answer has to be the same whenever the same is asked, in each dialect: of a whole answer and of a stream, in one form, so
 * that the one can be compared with the other. Ids, times and what the cache had are left out.
 */

// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes
export type Json = any;

export interface Dialect {
  /** What is asked for so that a stream says all that a whole answer does. */
  streaming: object;
  whole(answer: Json): Json;
  streamed(events: Json[]): Json;
  /** Whether a stream ends with [DONE]. */
  hasMark: boolean;
}

/** The events of a stream. @throws Error for what is none, and for one that is an error. */
export function eventsOf(text: string, hasMark: boolean): Json[] {
  const parts = text.split("\n\n").filter((part) => part !== "" && !part.startsWith(":"));
  if (hasMark && parts.pop() !== "data: [DONE]") throw new Error(`no [DONE] at the end of ${text.slice(-300)}`);
  return parts.map((part) => {
    if (!part.startsWith("data: ")) throw new Error(`no event: ${part}`);
    const event = JSON.parse(part.slice("data: ".length));
    if (event.error !== undefined) throw new Error(`an error in a stream: ${part}`);
    return event;
  });
}

function byIndex(choices: Json[]): Json[] {
  return choices.toSorted((one, other) => one.index - other.index);
}

function usageOf({ usage }: Json): number[] {
  return [usage.prompt_tokens, usage.completion_tokens];
}

/** The pieces of all answers, by answer. */
function piecesByIndex(pieces: Json[]): Json[][] {
  const answers: Json[][] = [];
  for (const piece of pieces) {
    answers[piece.index] ??= [];
    answers[piece.index]?.push(piece);
  }
  return answers;
}

const endOf = (pieces: Json[]) => pieces.find(({ finish_reason }) => finish_reason !== null)?.finish_reason;

/** Calls that come in pieces, put together. */
function callsOf(deltas: Json[]): Json[] {
  const calls: Json[] = [];
  for (const { index, function: part } of deltas.flatMap(({ tool_calls }) => tool_calls ?? [])) {
    calls[index] ??= { name: "", arguments: "" };
    calls[index].name += part.name ?? "";
    calls[index].arguments += part.arguments ?? "";
  }
  return calls;
}

export const chat: Dialect = {
  streaming: { stream: true, stream_options: { include_usage: true } },
  hasMark: true,
  whole: (answer) => ({
    choices: byIndex(answer.choices).map(({ message, finish_reason, logprobs }) => ({
      text: message.content ?? "",
      calls: (message.tool_calls ?? []).map((call: Json) => call.function),
      end: finish_reason,
      logprobs: logprobs?.content ?? [],
    })),
    usage: usageOf(answer),
  }),
  streamed: (events) => ({
    choices: piecesByIndex(events.flatMap((event) => event.choices)).map((pieces) => ({
      text: pieces.map(({ delta }) => delta.content ?? "").join(""),
      calls: callsOf(pieces.map(({ delta }) => delta)),
      end: endOf(pieces),
      logprobs: pieces.flatMap(({ logprobs }) => logprobs?.content ?? []),
    })),
    usage: usageOf(events.at(-1)),
  }),
};

/** Lists of log-probabilities that come in pieces, put together. */
function joined(pieces: Json[]): Json {
  const all = pieces.filter((piece) => piece !== null && piece !== undefined);
  return ["tokens", "token_logprobs", "top_logprobs", "text_offset"].map((name) => all.flatMap((piece) => piece[name]));
}

export const completions: Dialect = {
  streaming: { stream: true, stream_options: { include_usage: true } },
  hasMark: true,
  whole: (answer) => ({
    choices: byIndex(answer.choices).map(({ text, finish_reason, logprobs }) => ({
      text,
      end: finish_reason,
      logprobs: joined([logprobs]),
    })),
    usage: usageOf(answer),
  }),
  streamed: (events) => ({
    choices: piecesByIndex(events.flatMap((event) => event.choices)).map((pieces) => ({
      text: pieces.map(({ text }) => text).join(""),
      end: endOf(pieces),
      logprobs: joined(pieces.map(({ logprobs }) => logprobs)),
    })),
    usage: usageOf(events.at(-1)),
  }),
};

/** One answer of llama.cpp's from its last piece and all of its pieces. */
function llamaAnswer(last: Json, pieces: Json[]): Json {
  return {
    text: pieces.map(({ content }) => content).join(""),
    ids: pieces.flatMap(({ tokens }) => tokens),
    end: [last.stop_type, last.stopping_word, last.truncated],
    counts: [last.tokens_evaluated, last.tokens_predicted],
  };
}

/** Requests have to ask for `return_tokens`. */
export const llamaCpp: Dialect = {
  streaming: { stream: true },
  hasMark: false,
  whole: (answer) => byIndex([answer].flat()).map((one) => llamaAnswer(one, [one])),
  streamed: (events) => piecesByIndex(events).map((pieces) => llamaAnswer(pieces.at(-1), pieces)),
};

function sglangAnswer({ text, output_ids, meta_info }: Json): Json {
  const { finish_reason, prompt_tokens, completion_tokens, output_token_logprobs } = meta_info;
  return {
    text,
    ids: output_ids,
    end: finish_reason,
    counts: [prompt_tokens, completion_tokens, output_token_logprobs],
  };
}

/** Each event has the whole answer so far. */
export const sglang: Dialect = {
  streaming: { stream: true },
  hasMark: true,
  whole: (answer) => [answer].flat().map(sglangAnswer),
  streamed: (events) => [sglangAnswer(events.at(-1))],
};
