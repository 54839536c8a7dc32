/** Tokens of texts: how many they have, and how likely each was. */

import { ask } from "./connection.ts";

/** A token of an answer, and what else could have stood in its place. */
export interface ScoredToken {
  text: string;
  /** 0 to 1. */
  probability: number;
  /** The likeliest first; the token itself is among them. */
  alternatives: { text: string; probability: number }[];
}

/** Alternatives that are asked for. */
const ALTERNATIVES = 5;

/** The tokens of a text, or of the prompt of a conversation. */
async function tokenize(what: { content: string } | { messages: object[] }, signal?: AbortSignal) {
  return (await (await ask("tokenize", what, signal)).json()) as { count: number; tokens: number[] };
}

/** How many tokens a text has. */
export async function countTokens(content: string, signal?: AbortSignal): Promise<number> {
  return (await tokenize({ content }, signal)).count;
}

/** How many tokens the prompt of a conversation has. */
export async function countPrompt(messages: object[], signal?: AbortSignal): Promise<number> {
  return (await tokenize({ messages }, signal)).count;
}

/** Scores an answer that was given to these messages: nothing is generated, the model only reads it. */
export async function scoreAnswer(messages: object[], content: string): Promise<ScoredToken[]> {
  const { tokens: prompt } = await tokenize({ messages });
  const { tokens: answer } = await tokenize({ content });
  const response = await ask("v1/completions", {
    prompt: [...prompt, ...answer],
    echo: true,
    max_tokens: 0,
    logprobs: ALTERNATIVES,
  });
  const { choices } = (await response.json()) as {
    choices: [{ logprobs: { tokens: string[]; token_logprobs: number[]; top_logprobs: Record<string, number>[] } }];
  };
  const { tokens, token_logprobs, top_logprobs } = choices[0].logprobs;
  return tokens.slice(prompt.length).map((text, index) => ({
    text,
    probability: Math.exp(token_logprobs[prompt.length + index] as number),
    alternatives: Object.entries(top_logprobs[prompt.length + index] ?? {})
      .map(([text, logprob]) => ({ text, probability: Math.exp(logprob) }))
      .sort((a, b) => b.probability - a.probability),
  }));
}
