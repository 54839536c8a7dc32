/**
 * `samplers` of llama.cpp: which samplers are applied, and in which order. Here the order is fixed, so a list may only leave some out; those
 * that it leaves out are switched off.
 */

import type { JsonObject } from "../../json.ts";
import { unsupported } from "../../serving/request_error.ts";
import { invalidType, invalidValue, optionalArray } from "../schema.ts";

/** The samplers in their order, with the parameters that each has. */
const SAMPLERS: readonly { names: readonly string[]; parameters: readonly string[] }[] = [
  {
    names: ["penalties"],
    parameters: ["repetition_penalty", "repeat_penalty", "frequency_penalty", "presence_penalty"],
  },
  { names: ["dry"], parameters: ["dry_multiplier"] },
  { names: ["top_n_sigma"], parameters: ["top_n_sigma"] },
  { names: ["temperature", "temp"], parameters: ["temperature"] },
  { names: ["top_k"], parameters: ["top_k"] },
  { names: ["typ_p", "typical_p", "typical"], parameters: ["typical_p"] },
  { names: ["top_p"], parameters: ["top_p"] },
  { names: ["min_p"], parameters: ["min_p"] },
  { names: ["xtc"], parameters: ["xtc_probability"] },
];

/** The request without the parameters of samplers that its list leaves out. @throws RequestError 400. */
export function withSamplers(body: JsonObject): JsonObject {
  const param = "samplers";
  const listed = optionalArray(body, param, SAMPLERS.length);
  if (listed === undefined) return body;
  const places = listed.map((name, index) => {
    if (typeof name !== "string") throw invalidType(`${param}[${index}]`, "a string", name);
    const place = SAMPLERS.findIndex(({ names }) => names.includes(name));
    if (place < 0)
      throw invalidValue(`${param}[${index}]`, `one of ${SAMPLERS.flatMap(({ names }) => names).join(", ")}`);
    return place;
  });
  if (places.some((place, index) => index > 0 && place <= (places[index - 1] as number))) {
    throw unsupported(param, `they are applied in the order ${SAMPLERS.map(({ names }) => names[0]).join(", ")}`);
  }
  const absent = SAMPLERS.filter((_, place) => !places.includes(place)).flatMap(({ parameters }) => parameters);
  const left = Object.fromEntries(Object.entries(body).filter(([name]) => !absent.includes(name)));
  // Without the temperature logits are as the model gives them.
  return absent.includes("temperature") ? { ...left, temperature: 1 } : left;
}
