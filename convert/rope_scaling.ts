/**
 * What rotary positions are stretched by, so that a model is right beyond the context that it was first trained for. However a
 * checkpoint says it, the packed file has one divisor for each frequency.
 */

import { type ConfigFields, Fault, ConfigFields as Fields, inside } from "../src/model_file/config_fields.ts";
import { limits } from "../src/model_file/model_config.ts";

/** Factors are below this. */
const FACTOR_LIMIT = limits.ropeDivisor;

/** What the divisors depend on. */
export interface Rotation {
  theta: number;
  /** Dimensions that are rotated. */
  dimensions: number;
}

/**
 * Reads `rope_parameters` or `rope_scaling` of a config.json.
 *
 * @returns [dimensions / 2]; undefined for none
 * @throws Fault for a kind that is not supported, and where the two contradict each other
 */
export function readRopeScaling(fields: ConfigFields, rotation: Rotation): number[] | undefined {
  const found = ["rope_parameters", "rope_scaling"]
    .filter((key) => fields.has(key))
    .map((key) => inside(key, () => readDivisors(new Fields(fields.raw(key), key), fields, rotation)));
  if (new Set(found.map((divisors) => JSON.stringify(divisors))).size > 1) {
    throw new Fault("rope_parameters and rope_scaling contradict each other");
  }
  return found[0];
}

function readDivisors(scaling: ConfigFields, fields: ConfigFields, rotation: Rotation): number[] | undefined {
  const kinds = ["rope_type", "type"].filter((key) => scaling.has(key)).map((key) => scaling.text(key));
  const kind = kinds[0] ?? "default";
  if (kinds.some((other) => other !== kind)) throw new Fault(`rope_type '${kind}' and type '${kinds[1]}' contradict`);
  if (kind === "default") return undefined;
  if (kind === "linear") return linearDivisors(scaling.positive("factor", FACTOR_LIMIT), rotation);
  if (kind !== "llama3")
    throw new Fault(`the type ${JSON.stringify(kind)} is not supported; default, linear and llama3 are`);
  const original = "original_max_position_embeddings";
  return llama3Divisors(
    {
      factor: scaling.positive("factor", FACTOR_LIMIT),
      low: scaling.positive("low_freq_factor", FACTOR_LIMIT),
      high: scaling.positive("high_freq_factor", FACTOR_LIMIT),
      original: (scaling.has(original) ? scaling : fields).positive(original, limits.context),
    },
    rotation,
  );
}

/** Every frequency divided by the factor; undefined for one that changes nothing. */
export function linearDivisors(factor: number, { dimensions }: Rotation): number[] | undefined {
  return factor === 1 ? undefined : new Array<number>(dimensions / 2).fill(factor);
}

/**
 * Llama 3.1's: wavelengths that the original context holds often stay, those that it holds less than once are stretched, with a ramp
 * between.
 */
function llama3Divisors(
  { factor, low, high, original }: { factor: number; low: number; high: number; original: number },
  { theta, dimensions }: Rotation,
): number[] {
  if (high <= low) throw new Fault(`high_freq_factor ${high} is not above low_freq_factor ${low}`);
  return Array.from({ length: dimensions / 2 }, (_, index) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * index) / dimensions);
    if (wavelength < original / high) return 1;
    if (wavelength > original / low) return factor;
    const share = (original / wavelength - low) / (high - low);
    return 1 / ((1 - share) / factor + share);
  });
}
