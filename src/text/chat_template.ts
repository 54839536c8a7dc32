/**
 * Messages to the one string that a chat model was trained to continue, by the model's own Jinja template.
 *
 * Templates come with models, so they are programs of strangers: they see copies of the messages and a handful of functions,
 * nothing of the host but the date, and their time and memory are bounded (jinja/budget.ts).
 */

import { Failure } from "../errors.ts";
import { JsonNumber, membersOf } from "../json.ts";
import { naming } from "../model_file/config_fields.ts";
import type { PromptText } from "./added_tokens.ts";
import { type CallForm, findCallForm } from "./call_form.ts";
import { ControlTokens } from "./control_tokens.ts";
import { TemplateError } from "./jinja/errors.ts";
import { GLOBAL_NAMES } from "./jinja/globals.ts";
import { Template } from "./jinja/template.ts";
import { NoPrivateCharacter } from "./private_characters.ts";
import { findTemplates, type TemplateSources } from "./template_files.ts";
import { thinks } from "./thinking.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** A message as templates know it. */
export interface TemplateMessage {
  role: string;
  content: string;
  [field: string]: unknown;
}

/** What a prompt may be made of beside the messages. */
export interface TemplateExtras {
  /** Tools in OpenAI's shape, for templates that take them. */
  tools?: readonly unknown[];
  /** Further variables of the template; none may have a name of `RESERVED_VARIABLES`. */
  variables?: Readonly<Record<string, unknown>>;
}

/**
 * For models without a template, the format of BitNet-b1.58-2B-4T: "Role: content" and the end-of-turn token for each message,
 * beginning of text first, "Assistant: " where the answer begins.
 */
const FALLBACK_TEMPLATE =
  "{{ bos_token }}{% for message in messages %}" +
  "{{ message['role'] | capitalize + ': ' + message['content'] | trim + end_of_turn }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/** Longest template, some fifty times as long as any that is known. */
const TEMPLATE_LENGTH_MAX = 1_000_000;

/** Longest string, in UTF-16 code units, that a template may make beyond four times what it is given. */
const CHARACTERS_MAX = 1_000_000;

/** How a template is to be used. */
export interface TemplateSettings {
  /** Whether control tokens in messages are only characters; only the template's own are control tokens then. Default: true. */
  messagesAreLiteral?: boolean | undefined;
  /** The date that templates see. Default: that of the rendering. */
  date?: Date | undefined;
}

/** A model's chat templates, parsed. Any number of requests may use them. */
export class ChatTemplate {
  readonly #template: Template;
  /** For requests with tools. */
  readonly #toolTemplate: Template;
  readonly #constants: Record<string, unknown>;
  #settings: TemplateSettings;
  readonly #controlTokens: ControlTokens;
  /** Whether the template puts tools and calls into words itself. */
  readonly takesTools: boolean;
  /** How it wants the calls of earlier messages. */
  readonly callForm: CallForm;
  /** Whether its model writes what it thinks. */
  readonly thinks: boolean;

  /**
   * @param source the template, or all there are; undefined for a model that has none.
   * @param name what to call the model in messages.
   * @throws Failure when the template can't be parsed or doesn't even render one user message.
   */
  constructor(
    source: string | TemplateSources | undefined,
    tokenizer: Tokenizer,
    name: string,
    settings: TemplateSettings = {},
  ) {
    const { chat, toolUse } = typeof source === "object" ? source : { chat: source, toolUse: undefined };
    const sources = [chat ?? FALLBACK_TEMPLATE, ...(toolUse === undefined ? [] : [toolUse])];
    this.#controlTokens = new ControlTokens(tokenizer.added, sources.join(""), tokenizer.normalizer);
    this.#settings = settings;
    this.#constants = {
      bos_token: tokenizer.bosToken,
      eos_token: tokenizer.eosToken,
      end_of_turn: tokenizer.hasToken("<|eot_id|>") ? "<|eot_id|>" : tokenizer.eosToken,
      documents: null,
    };
    const tooLong = sources.find(({ length }) => length > TEMPLATE_LENGTH_MAX);
    if (tooLong !== undefined) {
      throw new Failure(
        `${name}: its chat template can't be used: ${tooLong.length} characters are over the limit of ${TEMPLATE_LENGTH_MAX}`,
      );
    }
    this.takesTools = toolUse !== undefined || (chat !== undefined && /\btools\b/.test(chat));
    this.thinks = chat !== undefined && thinks(chat);
    try {
      const [template, toolTemplate] = sources.map((text) => new Template(text));
      this.#template = template as Template;
      this.#toolTemplate = toolTemplate ?? this.#template;
      this.render([{ role: "user", content: "Hello" }]);
    } catch (error) {
      throw new Failure(`${name}: its chat template can't be used: ${(error as Error).message.split("\n")[0]}`);
    }
    this.callForm = findCallForm((messages, tools) => this.#run(messages as TemplateMessage[], { tools }, true));
  }

  /**
   * Takes the templates among a packed model's files.
   *
   * @param onNotice told where there is none.
   * @throws Failure when one of them can't be used.
   */
  static fromAssets(
    assets: ReadonlyMap<string, Uint8Array>,
    tokenizer: Tokenizer,
    name: string,
    settings: TemplateSettings = {},
    onNotice: (notice: string) => void = () => {},
  ): ChatTemplate {
    const sources = naming(name, () => findTemplates(assets));
    if (sources.chat === undefined) {
      onNotice("there is no chat template: messages take the form of BitNet-b1.58-2B-4T, which the model may not know");
    }
    return new ChatTemplate(sources, tokenizer, name, settings);
  }

  /** From now on prompts are made with these. */
  use(settings: TemplateSettings): void {
    this.#settings = settings;
  }

  /**
   * The prompt for the next message of the assistant, in which control tokens that messages, tools or variables spell are literal:
   * only the template's own are control tokens. Roles are taken for the template's own; many templates make control tokens of them.
   *
   * @throws TemplateError as `render` does.
   */
  prompt(messages: readonly TemplateMessage[], extras: TemplateExtras = {}): PromptText {
    if (this.#settings.messagesAreLiteral === false) return { text: this.render(messages, extras), literal: [] };
    try {
      const { given, reveal } = this.#controlTokens.disguise({ messages, extras });
      const disguised = given.messages.map((message, i) => ({ ...message, role: messages[i]?.role as string }));
      return reveal(this.render(disguised, given.extras));
    } catch (error) {
      if (error instanceof NoPrivateCharacter) throw new TemplateError(error.message);
      throw error;
    }
  }

  /**
   * The prompt for the next message of the assistant. It holds the beginning-of-text token where the template writes one:
   * tokenize it without adding another.
   *
   * A last message of the assistant is continued rather than answered. Templates end a message with all kinds of text, so
   * nothing is guessed about it: the message is rendered with a word at its end that occurs nowhere else, and the prompt is
   * what stands before that word. White space at the end of the message thus stays, even if the template trims.
   *
   * @throws TemplateError with the template's own words when it refuses the messages.
   */
  render(messages: readonly TemplateMessage[], extras: TemplateExtras = {}): string {
    const last = messages.at(-1);
    if (last?.role !== "assistant") return this.#run(messages, extras, true);
    const marker = `continues${crypto.randomUUID().replaceAll("-", "")}`;
    const marked = [...messages.slice(0, -1), { ...last, content: last.content + marker }];
    const rendered = this.#run(marked, extras, false);
    const end = rendered.indexOf(marker);
    if (end < 0) throw new TemplateError("the chat template leaves out the last message, so it can't be continued");
    return rendered.slice(0, end);
  }

  #run(messages: readonly TemplateMessage[], extras: TemplateExtras, addGenerationPrompt: boolean): string {
    const { variables, tools = null } = extras;
    const known = { ...variables, ...this.#constants, tools, messages, add_generation_prompt: addGenerationPrompt };
    const characters = lengthOf(messages) + lengthOf(extras.tools);
    const template = tools === null ? this.#template : this.#toolTemplate;
    return template.render(known, CHARACTERS_MAX + 4 * characters, this.#settings.date ?? new Date());
  }
}

/** About how long a value of JSON is as text, in UTF-16 code units. */
function lengthOf(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (value instanceof JsonNumber) return value.text.length;
  if (Array.isArray(value)) return value.reduce((sum, element) => sum + lengthOf(element) + 2, 2);
  const members = membersOf(value);
  return members === undefined
    ? 8
    : members.reduce((sum, [name, member]) => sum + name.length + lengthOf(member) + 6, 2);
}

/** Variables of every template, which nothing else may be called. */
export const RESERVED_VARIABLES: ReadonlySet<string> = new Set([
  ...GLOBAL_NAMES,
  "bos_token",
  "eos_token",
  "end_of_turn",
  "tools",
  "documents",
  "messages",
  "add_generation_prompt",
]);
