/**
 * Rotary positions as a config.json describes them: their base, and what they are stretched by, so that a model is right beyond the
 * context that it was first trained for. However a checkpoint says it, the packed file has one base, one divisor for each frequency and
 * one magnitude.
 *
 * There are three places. `rope_theta` and `rope_scaling` are the older ones; `rope_parameters`, of transformers 5, holds both, for all
 * layers or for each type of layer. Where they say different things, none is believed.
 */

import { isObject } from "../src/json.ts";
import { ConfigFields, Fault, inside, printable } from "../src/model_file/config_fields.ts";
import { limits } from "../src/model_file/model_config.ts";
import { plural } from "../src/terminal/plural.ts";

/** Factors are below this. */
const FACTOR_LIMIT = limits.ropeDivisor;

/** What the divisors depend on. */
export interface Rotation {
  theta: number;
  /** Dimensions that are rotated. */
  dimensions: number;
}

/** What rotary positions are stretched by. */
export interface Stretch {
  /** [dimensions / 2] what each frequency is divided by; undefined for none. */
  divisors?: number[] | undefined;
  /** What rotated keys and queries are multiplied by; undefined for 1. */
  magnitude?: number | undefined;
  /** Where a longer context than the original one needs other divisors: that one, and these. */
  originalContext?: number | undefined;
  longDivisors?: number[] | undefined;
}

/** What a config.json says of rotary positions. */
export interface RotaryPositions extends Stretch {
  theta: number;
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
 * @param dimensions of a head that are rotated.
 * @param share of a head's dimensions that these are.
 * @param apart a type of layers that has a base of its own, which is read elsewhere.
 * @throws Fault for what is not supported, and where two places contradict each other.
 */
export function readRotaryPositions(
  fields: ConfigFields,
  theta: number,
  dimensions: number,
  share = 1,
  apart?: string,
): RotaryPositions {
  const sources = ["rope_parameters", "rope_scaling"].flatMap((key) => readSources(fields, key, apart));
  const all = [{ name: "", fields }, ...sources];
  for (const { name, fields: source } of all) {
    if (source.has("partial_rotary_factor") && source.raw("partial_rotary_factor") !== share) {
      throw new Fault(`${join(name, "partial_rotary_factor")} is not ${share}, which is not supported`);
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
  if (dimensions % 2 !== 0) return { theta: base };
  const found = sources
    // One that only has a base leaves the scaling to another.
    .filter(({ fields: source }) => ["rope_type", "type", "factor"].some((key) => source.has(key)))
    .map(({ name, fields: source }) => ({
      name,
      value: named(name, () => readStretch(source, fields, { theta: base, dimensions })),
    }));
  return { theta: base, ...agreed(found) };
}

/**
 * The base of the rotary positions of one type of layers, which are not stretched: under an older key of its own, or in rope_parameters.
 *
 * @throws Fault where the places contradict each other, or the positions are stretched.
 */
export function readBaseOf(fields: ConfigFields, type: string, older: string, theta: number): number {
  const places = [{ name: "", key: older, source: fields }];
  const all = fields.raw("rope_parameters");
  if (isObject(all) && isObject(all[type])) {
    const name = `rope_parameters.${type}`;
    const source = new ConfigFields(all[type], name);
    named(name, () => source.oneOf("rope_type", ["default"], "default"));
    places.push({ name, key: "rope_theta", source });
  }
  const found = places
    .filter(({ key, source }) => source.has(key))
    .map(({ name, key, source }) => ({
      name: join(name, key),
      value: named(name, () => source.positive(key, limits.ropeTheta)),
    }));
  return agreed(found, (value) => String(value)) ?? theta;
}

/** A sentence for the user of a model with two lists of divisors. */
export function longContextNotice(originalContext: number, context: number): string {
  return `up to ${originalContext} tokens of context its rotary positions are those of short texts; --ctx, up to ${context}, takes those of long ones for all`;
}

/** The objects under a key: one for all layers, or one for each type of layer that the model has. */
function readSources(fields: ConfigFields, key: string, apart?: string): Source[] {
  if (!fields.has(key)) return [];
  const whole = new ConfigFields(fields.raw(key), key);
  const types = whole.keys().filter((name) => isObject(whole.raw(name)));
  if (types.length === 0) return [{ name: key, fields: whole }];
  const used: unknown = fields.raw("layer_types");
  const isUsed = (type: string) => type !== apart && (!Array.isArray(used) || used.includes(type));
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

function readStretch(scaling: ConfigFields, fields: ConfigFields, rotation: Rotation): Stretch {
  const kinds = ["rope_type", "type"].filter((key) => scaling.has(key)).map((key) => scaling.text(key));
  const kind = kinds[0] ?? "default";
  if (kinds.some((other) => other !== kind)) throw new Fault(`rope_type '${kind}' and type '${kinds[1]}' contradict`);
  if (kind === "default") {
    if (!scaling.has("factor") || scaling.raw("factor") === 1) return {};
    throw new Fault(`it has a factor, ${printable(JSON.stringify(scaling.raw("factor")))}, but the type is default`);
  }
  if (kind === "linear") return { divisors: linearDivisors(scaling.positive("factor", FACTOR_LIMIT), rotation) };
  if (kind !== "llama3" && kind !== "yarn" && kind !== "longrope") {
    throw new Fault(
      `the type ${JSON.stringify(printable(kind))} is not supported; default, linear, llama3, yarn and longrope are`,
    );
  }
  const key = "original_max_position_embeddings";
  if (scaling.has(key) && fields.has(key) && scaling.raw(key) !== fields.raw(key)) {
    throw new Fault(`${key} is not the one that stands outside`);
  }
  const stated = [scaling, fields].find((place) => place.has(key));
  if (kind === "llama3") {
    const original = (stated ?? fields).positive(key, limits.context);
    return {
      divisors: llama3Divisors(
        {
          factor: scaling.positive("factor", FACTOR_LIMIT),
          low: scaling.positive("low_freq_factor", FACTOR_LIMIT),
          high: scaling.positive("high_freq_factor", FACTOR_LIMIT),
          original,
        },
        rotation,
      ),
    };
  }
  const context = fields.whole("max_position_embeddings", 1, limits.context);
  const original = stated?.whole(key, 1, limits.context) ?? context;
  return kind === "yarn"
    ? readYarn(scaling, original, rotation)
    : readLongRope(scaling, { original, context }, rotation);
}

function readYarn(scaling: ConfigFields, original: number, rotation: Rotation): Stretch {
  const factor = scaling.positive("factor", FACTOR_LIMIT);
  const magnitudeBy = (weight: number) => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1);
  const weights = ["mscale", "mscale_all_dim"].filter((key) => scaling.has(key));
  const derived =
    weights.length === 2
      ? magnitudeBy(scaling.positive("mscale", FACTOR_LIMIT)) /
        magnitudeBy(scaling.positive("mscale_all_dim", FACTOR_LIMIT))
      : magnitudeBy(1);
  return yarn(
    {
      factor,
      original,
      fast: scaling.positive("beta_fast", FACTOR_LIMIT, 32),
      slow: scaling.positive("beta_slow", FACTOR_LIMIT, 1),
      isTruncated: scaling.flag("truncate", true),
      magnitude: scaling.positive("attention_factor", FACTOR_LIMIT, derived),
    },
    rotation,
  );
}

/** What YaRN's divisors depend on. */
export interface Yarn {
  factor: number;
  /** The context before it was stretched. */
  original: number;
  /** How often the original context holds the shortest wavelength that is stretched, and the longest that is not stretched in full. */
  fast: number;
  slow: number;
  /** Whether the dimensions between which the ramp lies are whole numbers. */
  isTruncated: boolean;
  magnitude: number;
}

/**
 * YaRN (arXiv:2309.00071), at every position: wavelengths that the original context holds often stay, those that it holds less than once
 * are divided by the factor, with a ramp over the dimensions between.
 */
export function yarn(
  { factor, original, fast, slow, isTruncated, magnitude }: Yarn,
  { theta, dimensions }: Rotation,
): Stretch {
  const dimensionOf = (rotations: number) =>
    (dimensions * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta));
  const [first, last] = [dimensionOf(fast), dimensionOf(slow)];
  const low = Math.max(0, isTruncated ? Math.floor(first) : first);
  const high = Math.min(dimensions - 1, isTruncated ? Math.ceil(last) : last);
  const divisors = Array.from({ length: dimensions / 2 }, (_, index) => {
    const share = Math.min(1, Math.max(0, (index - low) / Math.max(0.001, high - low)));
    return 1 / (1 - share + share / factor);
  });
  return { divisors, magnitude: magnitude === 1 ? undefined : magnitude };
}

/**
 * LongRoPE (arXiv:2402.13753) has divisors for contexts up to the original one and others for longer ones. Keys that are computed cannot
 * change theirs, so an engine takes one of the lists for all positions, by its context.
 */
function readLongRope(
  scaling: ConfigFields,
  { original, context }: { original: number; context: number },
  { dimensions }: Rotation,
): Stretch {
  const [short, long] = ["short_factor", "long_factor"].map((key) => {
    const list = scaling.positives(key, FACTOR_LIMIT);
    if (list.length === dimensions / 2) return list;
    throw new Fault(`${key} has ${plural(list.length, "number")}; ${dimensions / 2} are needed`);
  }) as [number[], number[]];
  for (const other of ["short_mscale", "long_mscale"]) {
    if (scaling.has(other)) throw new Fault(`${other} is set, which is not supported`);
  }
  const stretched = scaling.positive("factor", FACTOR_LIMIT, context / original);
  const derived = stretched <= 1 ? 1 : Math.sqrt(1 + Math.log(stretched) / Math.log(original));
  const magnitude = scaling.positive("attention_factor", FACTOR_LIMIT, derived);
  return { ...longRope(short, long, { original, context }), magnitude: magnitude === 1 ? undefined : magnitude };
}

/** Divisors for contexts up to the original one, and for longer ones where the model has them and they differ. */
export function longRope(
  short: number[],
  long: number[] | undefined,
  { original, context }: { original: number; context: number },
): Stretch {
  const isOne = long === undefined || context <= original || JSON.stringify(short) === JSON.stringify(long);
  return { divisors: short, ...(isOne ? {} : { originalContext: original, longDivisors: long }) };
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
