/** How answers are chosen: the options of the command line, and what /set changes. */

import { defaultSampling, leavesOut, type Sampling } from "../engine/sampling.ts";
import { UsageError } from "../errors.ts";
import type { ValueOption } from "../options/option.ts";

/** Values that were set; what is absent is left to the model, or to the server. */
export type Settings = { [Name in SettingName]?: number | bigint };

/** What a setting is and which values it takes. */
interface SettingRule {
  /** In requests to a server. */
  field: string;
  low: number;
  high: number;
  isWhole: boolean;
  /** What applies without it, for a model in this process. */
  otherwise: string;
}

const INTEGER_MAX = 2 ** 31 - 1;

const rules = {
  temperature: {
    field: "temperature",
    low: 0,
    high: 2,
    isWhole: false,
    otherwise: "0, the likeliest token; 1 with top-p, top-k or min-p",
  },
  "top-p": { field: "top_p", low: 0, high: 1, isWhole: false, otherwise: "1" },
  "top-k": { field: "top_k", low: 0, high: INTEGER_MAX, isWhole: true, otherwise: "0, all tokens" },
  "min-p": { field: "min_p", low: 0, high: 1, isWhole: false, otherwise: "0" },
  "repetition-penalty": { field: "repetition_penalty", low: 0.001, high: 1000, isWhole: false, otherwise: "1" },
  seed: { field: "seed", low: -(2 ** 63), high: 2 ** 64, isWhole: true, otherwise: "another one for each answer" },
  "max-tokens": {
    field: "max_tokens",
    low: 1,
    high: INTEGER_MAX,
    isWhole: true,
    otherwise: "to the end of the context",
  },
} as const satisfies Record<string, SettingRule>;

/** The name of a setting: that of its option. */
export type SettingName = keyof typeof rules;

export const settingNames = Object.keys(rules) as SettingName[];

/** Their options. */
export const settingOptions = Object.fromEntries(
  settingNames.map((name) => [name, settingOption(name)]),
) as unknown as { [Name in SettingName]: ValueOption<number | bigint> };

function settingOption(name: SettingName): ValueOption<number | bigint> {
  const { low, high, isWhole, otherwise } = rules[name];
  const range = high >= INTEGER_MAX ? `from ${low}` : `from ${low} to ${high}`;
  return {
    group: "Answers",
    help: name === "seed" ? "the same seed gives the same answers" : `a ${isWhole ? "whole " : ""}number ${range}`,
    place: "anywhere",
    placeholder: isWhole ? "N" : "X",
    kind: { read: (text, label) => readSetting(name, text, label), isNumber: true },
    otherwise,
  };
}

/** The setting of a name, also as the API spells it. */
export function findSetting(name: string): SettingName | undefined {
  return settingNames.find((one) => one === name.toLowerCase().replaceAll("_", "-"));
}

/** What applies where a setting was not set. */
export function defaultOf(name: SettingName): string {
  return rules[name].otherwise;
}

/**
 * Reads the value of a setting.
 *
 * @param label what to call it in messages.
 * @throws UsageError.
 */
export function readSetting(name: SettingName, text: string, label: string): number | bigint {
  const { low, high, isWhole } = rules[name];
  if (name === "seed") {
    if (!/^-?\d{1,20}$/.test(text)) throw new UsageError(`${label} takes a whole number, not '${text}'`);
    return BigInt(text);
  }
  const value = Number(text);
  const isNumber = isWhole ? /^\d+$/.test(text) : text.trim() !== "";
  if (!isNumber || !(value >= low && value <= high)) {
    throw new UsageError(`${label} takes a ${isWhole ? "whole " : ""}number from ${low} to ${high}, not '${text}'`);
  }
  return value;
}

/** Those that were given among the values of options. */
export function settingsOf(values: { [Name in SettingName]: number | bigint | undefined }): Settings {
  const settings: Settings = {};
  for (const name of settingNames) {
    const value = values[name];
    if (value !== undefined) settings[name] = value;
  }
  return settings;
}

/** The settings as a model in this process takes them. Without a seed each call has another one. */
export function samplingOf(settings: Settings): Sampling {
  const number = (name: SettingName, otherwise: number) => Number(settings[name] ?? otherwise);
  const seed = settings.seed ?? (crypto.getRandomValues(new BigUint64Array(1))[0] as bigint);
  const sampling = {
    ...defaultSampling(number("max-tokens", INTEGER_MAX)),
    topP: number("top-p", 1),
    topK: number("top-k", 0),
    minP: number("min-p", 0),
    repetitionPenalty: number("repetition-penalty", 1),
    seed: BigInt.asUintN(64, BigInt(seed)),
  };
  // As a server does.
  return { ...sampling, temperature: number("temperature", leavesOut(sampling) ? 1 : 0) };
}

/** The settings as a server takes them: what was not set is left to it. JSON, because a seed may have more digits than a number. */
export function requestFields(settings: Settings): string[] {
  return settingNames.flatMap((name) =>
    settings[name] === undefined ? [] : [`${JSON.stringify(rules[name].field)}:${settings[name]}`],
  );
}
