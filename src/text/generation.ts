/**
 * One answer, from prompt ids to text: the engine's tokens become whole characters, the text ends before the first stop string,
 * and leaving early stops the engine. Every endpoint and the terminal chat generate through here.
 */

import type { Engine, FinishReason, Sampling } from "../engine/engine.ts";
import { Detokenizer } from "./detokenizer.ts";
import { StopStrings } from "./stop_strings.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** What generates: a running engine and how its ids read. */
export interface TextGenerator {
  engine: Pick<Engine, "generate">;
  tokenizer: Tokenizer;
  /** Ids that end an answer unless a request ignores them. */
  config: { eosTokenIds: number[] };
}

/** What one answer cost. */
export interface Counts {
  promptTokens: number;
  /** Of those, found in the prefix cache. */
  cachedTokens: number;
  /** Tokens generated, the one that ended the answer included. */
  completionTokens: number;
  /** Milliseconds from submitting to the first token; 0 when there was none. */
  firstTokenMs: number;
  /** Milliseconds from submitting to the end. */
  totalMs: number;
}

/** Text of the answer as it grows, never empty, and then how it ended. */
export type GenerationEvent = { kind: "text"; text: string } | { kind: "end"; reason: FinishReason; counts: Counts };

/** One answer to generate. */
export interface GenerationRequest {
  prompt: readonly number[];
  sampling: Sampling;
  /** Strings that end the answer. */
  stops: readonly string[];
  /** Ends the answer when it fires; the last event then says "cancelled". */
  signal: AbortSignal;
  /** Called when the first token arrives, before its text. */
  onStart?: () => void;
}

/** Generates one answer. Leaving the loop early stops the engine. */
export async function* generate(
  generator: TextGenerator,
  request: GenerationRequest,
): AsyncGenerator<GenerationEvent, void> {
  const { sampling } = request;
  const endIds = new Set([...sampling.stopIds, ...(sampling.ignoreEos ? [] : generator.config.eosTokenIds)]);
  const detokenizer = new Detokenizer(generator.tokenizer);
  const stops = new StopStrings(request.stops);
  const counts: Counts = {
    promptTokens: request.prompt.length,
    cachedTokens: 0,
    completionTokens: 0,
    firstTokenMs: 0,
    totalMs: 0,
  };
  let reason: FinishReason = "cancelled";
  for await (const event of generator.engine.generate(Uint32Array.from(request.prompt), sampling, request.signal)) {
    counts.totalMs = event.elapsedMs;
    if (event.kind === "done") {
      reason = event.reason;
      continue;
    }
    if (event.kind === "progress") counts.cachedTokens = event.cached;
    if (event.kind !== "token") continue;
    if (counts.completionTokens++ === 0) {
      counts.firstTokenMs = event.elapsedMs;
      request.onStart?.();
    }
    if (endIds.has(event.token)) continue;
    const text = stops.push(detokenizer.push(event.token));
    if (text !== "") yield { kind: "text", text };
    if (stops.found) {
      reason = "stop";
      break;
    }
  }
  const rest = stops.found ? "" : stops.push(detokenizer.finish()) + stops.finish();
  if (rest !== "") yield { kind: "text", text: rest };
  yield { kind: "end", reason: stops.found ? "stop" : reason, counts };
}
