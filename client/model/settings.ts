/** The parameters of requests that a reader can set. One that is null is left to the server. */

/** How answers are made and shown. */
export interface AnswerSettings {
  maxTokens: number | null;
  temperature: number | null;
  topP: number | null;
  minP: number | null;
  repetitionPenalty: number | null;
  seed: number | null;
  isStreamed: boolean;
}

/** What is set. */
export interface Settings extends AnswerSettings {
  /** Tools in OpenAI's shape, as JSON; empty: none. */
  tools: string;
  /** Whether calls of tools are shown as the JSON that they are. */
  showsRawCalls: boolean;
}

/** As it is before anything is set. */
export const DEFAULT_ANSWER_SETTINGS: Readonly<AnswerSettings> = {
  maxTokens: null,
  temperature: null,
  topP: null,
  minP: null,
  repetitionPenalty: null,
  seed: null,
  isStreamed: true,
};
export const DEFAULT_SETTINGS: Readonly<Settings> = {
  ...DEFAULT_ANSWER_SETTINGS,
  tools: "",
  showsRawCalls: false,
};

/** The settings that are numbers. */
type NumberSetting = "maxTokens" | "temperature" | "topP" | "minP" | "repetitionPenalty" | "seed";

/** How a number is asked for. */
export interface NumberField {
  setting: NumberSetting;
  /** The name in requests. */
  parameter: string;
  label: string;
  hint: string;
  low?: number;
  high?: number;
  step: number;
}

export const NUMBER_FIELDS: readonly NumberField[] = [
  {
    setting: "maxTokens",
    parameter: "max_tokens",
    label: "Max tokens",
    hint: "An answer ends after so many, or at the end of the context.",
    low: 1,
    step: 1,
  },
  {
    setting: "temperature",
    parameter: "temperature",
    label: "Temperature",
    hint: "0 always takes the likeliest token; higher is more varied.",
    low: 0,
    high: 2,
    step: 0.1,
  },
  {
    setting: "topP",
    parameter: "top_p",
    label: "Top-p",
    hint: "Only the likeliest tokens that make up this share.",
    low: 0,
    high: 1,
    step: 0.05,
  },
  {
    setting: "minP",
    parameter: "min_p",
    label: "Min-p",
    hint: "Only tokens at least this likely, relative to the likeliest.",
    low: 0,
    high: 1,
    step: 0.01,
  },
  {
    setting: "repetitionPenalty",
    parameter: "repetition_penalty",
    label: "Repetition penalty",
    hint: "Over 1 makes what was said before less likely.",
    low: 0.001,
    high: 1000,
    step: 0.05,
  },
  {
    setting: "seed",
    parameter: "seed",
    label: "Seed",
    hint: "The same seed gives the same draws.",
    step: 1,
  },
];

/** A system prompt under a name. */
export interface Preset {
  name: string;
  system: string;
}

/** The ones that are there at first. */
export const DEFAULT_PRESETS: readonly Preset[] = [
  { name: "Concise", system: "Answer in as few words as possible." },
  { name: "Teacher", system: "Explain step by step, with a small example, to somebody who is new to the subject." },
  { name: "Programmer", system: "You are an experienced programmer. Answer with code first and a short explanation." },
];

/** Which colours the page has. */
export type Theme = "system" | "light" | "dark";

/** The parameters of sampling by their names in a request. */
export function samplingParameters(settings: Settings): Record<string, unknown> {
  const parameters: Record<string, unknown> = {};
  for (const { setting, parameter } of NUMBER_FIELDS) {
    if (settings[setting] !== null) parameters[parameter] = settings[setting];
  }
  return parameters;
}

/** Whether something is a tool in OpenAI's shape, as far as the page uses it: a function with a name. */
function isTool(tool: unknown): boolean {
  const { type, function: described } = (tool ?? {}) as { type?: unknown; function?: { name?: unknown } | null };
  return type === "function" && typeof described?.name === "string";
}

/** Tools from their JSON; a text: what is wrong with it. */
export function readTools(text: string): unknown[] | string {
  if (text.trim() === "") return [];
  let tools: unknown;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    return `This is no JSON: ${(error as Error).message}`;
  }
  if (!Array.isArray(tools)) return "Tools are a JSON array, in OpenAI's shape.";
  const wrong = tools.findIndex((tool) => !isTool(tool));
  if (wrong < 0) return tools;
  return `Number ${wrong + 1} is no tool: each is {"type": "function", "function": {"name": …}}.`;
}
