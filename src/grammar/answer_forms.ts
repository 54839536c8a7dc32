/**
 * The forms that an answer can be asked for: JSON, calls of tools, or either.
 */

import type { Part } from "./grammar_builder.ts";
import { SchemaCompiler } from "./json_schema.ts";

/** A tool that an answer may call. */
export interface CallableTool {
  name: string;
  /** The JSON Schema of its arguments, which has to describe objects. */
  parameters: unknown;
  /** Where a request has that schema. */
  path: string;
}

/** Calls of tools, in the form of src/text/tool_calls.ts. */
export interface CallsForm {
  tools: readonly CallableTool[];
  /** Whether there may be more than one. */
  isParallel: boolean;
}

/** What an answer has to be: by one of what is given. */
export interface AnswerForm {
  /** JSON by a schema, or any object. */
  json?: { schema: unknown } | "object";
  calls?: CallsForm | undefined;
  /** What may stand before it, in the form of src/text/thinking.ts: thoughts that the prompt has begun, or thoughts or none. */
  thoughts?: "open" | "possible" | undefined;
}

/** Something that is wrong with the schema of a tool. */
export class ToolSchemaError extends Error {
  override name = "ToolSchemaError";
  readonly tool: CallableTool;

  constructor(tool: CallableTool, cause: unknown) {
    super("a tool's schema", { cause });
    this.tool = tool;
  }
}

/**
 * The grammar of a form, for the engine.
 *
 * @throws SchemaError about the schema of the JSON, ToolSchemaError about that of a tool.
 */
export function answerGrammar({ json, calls, thoughts }: AnswerForm): Uint8Array {
  const compiler = new SchemaCompiler();
  const { builder } = compiler;
  const parts: Part[] = [];
  if (json !== undefined) parts.push(json === "object" ? compiler.json.object : compiler.schema(json.schema));
  if (calls !== undefined) {
    const call = builder.choice(...calls.tools.map((tool) => callOf(compiler, tool)));
    const callsMax = calls.isParallel ? Number.POSITIVE_INFINITY : 0;
    const rule = builder.call(builder.rule(call));
    parts.push(builder.sequence(rule, builder.repeat(builder.sequence(builder.text("\n"), rule), 0, callsMax)));
  }
  const answer = builder.choice(...parts);
  if (thoughts === undefined) return compiler.finish(answer);
  // Models end thoughts with an empty line.
  const ending = builder.sequence(builder.through("</think>"), builder.repeat(builder.text("\n"), 0, 2));
  const begun = thoughts === "open" ? ending : builder.optional(builder.sequence(builder.text("<think>"), ending));
  return compiler.finish(builder.sequence(begun, answer));
}

function callOf(compiler: SchemaCompiler, tool: CallableTool): Part {
  const { builder } = compiler;
  try {
    const head = builder.text(`<tool_call>\n{"name": ${JSON.stringify(tool.name)}, "arguments": `);
    return builder.sequence(head, compiler.schema(tool.parameters), builder.text("}\n</tool_call>"));
  } catch (error) {
    throw new ToolSchemaError(tool, error);
  }
}
