/**
 * `samplers` of llama.cpp: which samplers are applied, and in which order. Those that a list leaves out are switched off. The temperature may
 * stand in any place behind the penalties; the others are applied in one order, so those that do something have to stand in it.
 */

import type { Sampling } from "../../engine/sampling.ts";
import type { JsonObject } from "../../json.ts";
import { unsupported } from "../../serving/request_error.ts";
import { invalidType, invalidValue, optionalArray } from "../schema.ts";

interface Sampler {
  /** The first is what llama.cpp's own lists have. */
  names: readonly [string, ...string[]];
  /** In lists that are one text. */
  letter: string;
  /** Those without which it does nothing. */
  parameters: readonly string[];
  /** Whether it does something. */
  isActive: (sampling: Sampling) => boolean;
}

/** The samplers in llama.cpp's default order, which is the one in which they are applied. */
const SAMPLERS: readonly Sampler[] = [
  {
    names: ["penalties"],
    letter: "e",
    parameters: ["repetition_penalty", "repeat_penalty", "frequency_penalty", "presence_penalty"],
    isActive: ({ repetitionPenalty, frequencyPenalty, presencePenalty }) =>
      repetitionPenalty !== 1 || frequencyPenalty !== 0 || presencePenalty !== 0,
  },
  {
    names: ["dry"],
    letter: "d",
    parameters: ["dry_multiplier"],
    isActive: ({ dryMultiplier }) => dryMultiplier > 0,
  },
  {
    names: ["top_n_sigma"],
    letter: "s",
    parameters: ["top_n_sigma"],
    isActive: ({ topNSigma }) => topNSigma > 0,
  },
  { names: ["top_k"], letter: "k", parameters: ["top_k"], isActive: ({ topK }) => topK > 0 },
  {
    names: ["typ_p", "typical_p", "typical"],
    letter: "y",
    parameters: ["typical_p"],
    isActive: ({ typicalP }) => typicalP < 1,
  },
  { names: ["top_p"], letter: "p", parameters: ["top_p"], isActive: ({ topP }) => topP < 1 },
  { names: ["min_p"], letter: "m", parameters: ["min_p"], isActive: ({ minP }) => minP > 0 },
  {
    names: ["xtc"],
    letter: "x",
    parameters: ["xtc_probability"],
    isActive: ({ xtcProbability }) => xtcProbability > 0,
  },
  {
    names: ["temperature", "temp"],
    letter: "t",
    parameters: ["temperature"],
    isActive: ({ temperature }) => temperature !== 1,
  },
  // Off in llama.cpp unless adaptive_target says otherwise, which is refused.
  { names: ["adaptive_p"], letter: "a", parameters: [], isActive: () => false },
];

/** The samplers in front of or behind which a temperature is not the same, in the order of the engine's steps. */
const TRUNCATIONS = ["typ_p", "top_p", "min_p", "xtc"];

/** A temperature in front of these would be another one. */
const PENALTIES = ["penalties", "dry"];

/** The samplers of a request's list. */
export class Samplers {
  readonly #listed: readonly Sampler[] | undefined;

  /** @throws RequestError 400 for what is no list of samplers. */
  constructor(body: JsonObject) {
    this.#listed = readList(body);
  }

  /** The request without the parameters of samplers that the list leaves out. */
  switchOff(body: JsonObject): JsonObject {
    const listed = this.#listed;
    if (listed === undefined) return body;
    const absent = SAMPLERS.filter((sampler) => !listed.includes(sampler)).flatMap(({ parameters }) => parameters);
    const left = Object.fromEntries(Object.entries(body).filter(([name]) => !absent.includes(name)));
    // Without the temperature logits are as the model gives them.
    return absent.includes("temperature") ? { ...left, temperature: 1 } : left;
  }

  /** Where the temperature is applied (Sampling.temperaturePlace). @throws RequestError 400 for an order that can't be had. */
  temperaturePlace(sampling: Sampling): number {
    const names = activeNames(this.#listed ?? [], sampling);
    const order = SAMPLERS.map(({ names: [name] }) => name).filter((name) => names.includes(name));
    const others = (list: readonly string[]) => list.filter((name) => name !== "temperature");
    const before = names.slice(0, Math.max(0, names.indexOf("temperature")));
    const isTooEarly =
      names.includes("temperature") && PENALTIES.some((name) => order.includes(name) && !before.includes(name));
    if (isTooEarly || names.length > order.length || !Bun.deepEquals(others(names), others(order))) {
      throw unsupported(
        "samplers",
        `those that change something are applied once each and in the order ${others(order).join(", ")}; temperature may stand in any place behind penalties and dry`,
      );
    }
    return 1 + TRUNCATIONS.findLastIndex((name) => before.includes(name));
  }
}

/** The first names of those in a list that change something. */
function activeNames(listed: readonly Sampler[], sampling: Sampling): string[] {
  const names = listed.filter(({ isActive }) => isActive(sampling)).map(({ names: [name] }) => name);
  // At temperature 0 the likeliest token is chosen, which only these two may leave out.
  if (sampling.temperature !== 0 || names.includes("typ_p") || names.includes("xtc")) return names;
  return names.filter((name) => name === "temperature" || PENALTIES.includes(name));
}

function readList(body: JsonObject): Sampler[] | undefined {
  const param = "samplers";
  const value = body[param] ?? undefined;
  if (typeof value === "string") {
    return Array.from(value, (letter) => {
      const sampler = SAMPLERS.find((known) => known.letter === letter);
      if (sampler === undefined)
        throw invalidValue(param, `letters of ${SAMPLERS.map((known) => known.letter).join("")}`);
      return sampler;
    });
  }
  return optionalArray(body, param, SAMPLERS.length)?.map((name, index) => {
    if (typeof name !== "string") throw invalidType(`${param}[${index}]`, "a string", name);
    const sampler = SAMPLERS.find(({ names }) => names.includes(name));
    if (sampler === undefined) {
      throw invalidValue(`${param}[${index}]`, `one of ${SAMPLERS.flatMap(({ names }) => names).join(", ")}`);
    }
    return sampler;
  });
}
