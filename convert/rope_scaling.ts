/**
 * Rotary positions as a config.json describes them: their base, and what they are stretched by, so that a model is right beyond the
 * context that it was first trained for. However a checkpoint says it, the packed file has one base and one divisor for each frequency.
 *
 * There are three places. `rope_theta` and `rope_scaling` are the older ones; `rope_parameters`, of transformers 5, holds both, for all
 * layers or for each type of layer. Where they say different things, none is believed.
 */

import { ConfigFields, Fault, inside, printable } from "../src/model_file/config_fields.ts";
import { limits } from "../src/model_file/model_config.ts";

/** Factors are below this. */
const FACTOR_LIMIT = limits.ropeDivisor;

/** What the divisors depend on. */
interface Rotation {
  theta: number;
  /** Dimensions that are rotated. */
  dimensions: number;
}

/** What a config.json says of rotary positions. */
export interface RotaryPositions {
  theta: number;
  /** [dimensions / 2]; undefined for none. */
  divisors: number[] | undefined;
}

/** An object that describes rotary positions, and where it stands. */
interface Source {
  name: string;
  fields: ConfigFields;
}

/**
 * Reads them.
 *
 * @param theta the base, where no place has one.
 * @param dimensions of a head.
 * @throws Fault for what is not supported, and where two places contradict each other.
 */
export function readRotaryPositions(fields: ConfigFields, theta: number, dimensions: number): RotaryPositions {
  const sources = [...readSources(fields, "rope_parameters"), ...readSources(fields, "rope_scaling")];
  const all = [{ name: "", fields }, ...sources];
  for (const { name, fields: source } of all) {
    if (source.has("partial_rotary_factor") && source.raw("partial_rotary_factor") !== 1) {
      throw new Fault(`${join(name, "partial_rotary_factor")} is not 1, which is not supported`);
    }
  }
  const bases = all
    .filter(({ fields: source }) => source.has("rope_theta"))
    .map(({ name, fields: source }) => ({
      name: join(name, "rope_theta"),
      value: named(name, () => source.positive("rope_theta", limits.ropeTheta)),
    }));
  const base = agreed(bases, (value) => String(value)) ?? theta;
  // A head of an odd size is refused elsewhere.
  if (dimensions % 2 !== 0) return { theta: base, divisors: undefined };
  const found = sources
    // One that only has a base leaves the scaling to another.
    .filter(({ fields: source }) => ["rope_type", "type", "factor"].some((key) => source.has(key)))
    .map(({ name, fields: source }) => ({
      name,
      value: named(name, () => readDivisors(source, fields, { theta: base, dimensions })),
    }));
  return { theta: base, divisors: agreed(found) };
}

/** The objects under a key: one for all layers, or one for each type of layer that the model has. */
function readSources(fields: ConfigFields, key: string): Source[] {
  if (!fields.has(key)) return [];
  const whole = new ConfigFields(fields.raw(key), key);
  const types = whole.keys().filter((name) => typeof whole.raw(name) === "object" && whole.raw(name) !== null);
  if (types.length === 0) return [{ name: key, fields: whole }];
  const used: unknown = fields.raw("layer_types");
  const isUsed = (type: string) => !Array.isArray(used) || used.includes(type);
  const nested = types
    .filter(isUsed)
    .map((type) => ({ type, name: `${key}.${printable(type)}` }))
    .map(({ type, name }) => ({ name, fields: new ConfigFields(whole.raw(type), name) }));
  return types.length < whole.keys().length ? [{ name: key, fields: whole }, ...nested] : nested;
}

/** What all places say. @throws Fault naming the first two that differ. */
function agreed<Value>(found: { name: string; value: Value }[], show?: (value: Value) => string): Value | undefined {
  const [first] = found;
  const other = found.find(({ value }) => JSON.stringify(value) !== JSON.stringify(first?.value));
  if (first === undefined || other === undefined) return first?.value;
  const what = ({ name, value }: { name: string; value: Value }) => (show ? `${name} (${show(value)})` : name);
  throw new Fault(`${what(first)} and ${what(other)} contradict each other`);
}

function join(name: string, key: string): string {
  return name === "" ? key : `${name}.${key}`;
}

function named<Result>(name: string, check: () => Result): Result {
  return name === "" ? check() : inside(name, check);
}

function readDivisors(scaling: ConfigFields, fields: ConfigFields, rotation: Rotation): number[] | undefined {
  const kinds = ["rope_type", "type"].filter((key) => scaling.has(key)).map((key) => scaling.text(key));
  const kind = kinds[0] ?? "default";
  if (kinds.some((other) => other !== kind)) throw new Fault(`rope_type '${kind}' and type '${kinds[1]}' contradict`);
  if (kind === "default") {
    if (!scaling.has("factor") || scaling.raw("factor") === 1) return undefined;
    throw new Fault(`it has a factor, ${printable(JSON.stringify(scaling.raw("factor")))}, but the type is default`);
  }
  if (kind === "linear") return linearDivisors(scaling.positive("factor", FACTOR_LIMIT), rotation);
  if (kind !== "llama3") {
    throw new Fault(`the type ${JSON.stringify(printable(kind))} is not supported; default, linear and llama3 are`);
  }
  const original = "original_max_position_embeddings";
  if (scaling.has(original) && fields.has(original) && scaling.raw(original) !== fields.raw(original)) {
    throw new Fault(`${original} is not the one that stands outside`);
  }
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
export function linearDivisors(factor: number, { dimensions }: Pick<Rotation, "dimensions">): number[] | undefined {
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
