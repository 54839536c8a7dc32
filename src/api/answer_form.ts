/**
 * What form a request wants its answer in, under all the names that clients have for it, as a grammar for the engine.
 */

import { type AnswerForm, answerGrammar, type CallsForm, ToolSchemaError } from "../grammar/answer_forms.ts";
import { SchemaError } from "../grammar/schema_error.ts";
import { isObject, type JsonObject, parseExactly } from "../json.ts";
import { invalid, type RequestError } from "../serving/request_error.ts";
import { turns } from "../text/turns.ts";
import { DEPTH_MAX, measureJson, PARTS_MAX } from "./json_bounds.ts";
import { checkParameters, structuredOutputsTable } from "./parameters.ts";
import {
  invalidType,
  invalidValue,
  missing,
  onlyOneOf,
  optionalBoolean,
  optionalObject,
  optionalString,
} from "./schema.ts";

/** A form of JSON, and the parameter that asks for it. */
interface WantedJson {
  param: string;
  json: NonNullable<AnswerForm["json"]>;
}

/** What a chat says of the form of its answer. */
export interface ChatForm {
  /** The calls that it may, or has to, consist of. */
  calls?: CallsForm | undefined;
  /** Whether text and JSON won't do. */
  callsAreRequired?: boolean;
  /** The thoughts before it, which have no form. */
  thoughts?: AnswerForm["thoughts"];
}

/** Kinds of OpenAI's response_format. */
const FORMATS = ["text", "json_object", "json_schema"];

/**
 * Reads what a request asks its answer to be: `response_format` (OpenAI), `json_schema` (llama.cpp, SGLang), `guided_json` or
 * `structured_outputs.json` (vLLM). The grammar is made in a turn of its own: a short schema may take a tenth of a second.
 *
 * @param client fires when the client has left.
 * @param chat what its chat says of it.
 * @returns the grammar; undefined when any text will do.
 * @throws RequestError 400.
 */
export async function readAnswerGrammar(
  body: JsonObject,
  client: AbortSignal,
  { calls, callsAreRequired = false, thoughts }: ChatForm = {},
): Promise<Uint8Array | undefined> {
  const wanted = [
    readResponseFormat(body),
    readSchema(body, "json_schema"),
    readSchema(body, "guided_json"),
    readStructuredOutputs(body),
  ].filter((json) => json !== undefined);
  const [json, another] = wanted;
  if (json !== undefined && another !== undefined) throw onlyOneOf(json.param, another.param);
  if (json === undefined && !callsAreRequired) return undefined;
  await turns.take(true, client);
  return callsAreRequired || json === undefined
    ? compiled({ calls, thoughts }, "tools")
    : compiled({ json: json.json, calls, thoughts }, json.param);
}

function readResponseFormat(body: JsonObject): WantedJson | undefined {
  const param = "response_format";
  const format = optionalObject(body, param);
  if (format === undefined) return undefined;
  const { type } = format;
  if (type === undefined) throw missing(`${param}.type`);
  if (typeof type !== "string") throw invalidType(`${param}.type`, "a string", type);
  if (!FORMATS.includes(type)) throw invalidValue(`${param}.type`, "'text', 'json_object' or 'json_schema'");
  if (type === "text") return undefined;
  if (type === "json_object") {
    // llama.cpp and others take a schema here.
    const schema = format.schema ?? undefined;
    return { param, json: schema === undefined ? "object" : { schema } };
  }
  const described = format.json_schema;
  if (described === undefined) throw missing(`${param}.json_schema`);
  if (!isObject(described)) throw invalidType(`${param}.json_schema`, "an object", described);
  if (optionalString(described, "name") === undefined) throw missing(`${param}.json_schema.name`);
  optionalBoolean(described, "strict");
  const { schema } = described;
  if (schema === undefined) throw missing(`${param}.json_schema.schema`);
  if (!isObject(schema)) throw invalidType(`${param}.json_schema.schema`, "an object", schema);
  return { param, json: { schema } };
}

/** A schema as an object or as its JSON. */
function readSchema(body: JsonObject, name: string, param = name): WantedJson | undefined {
  let schema: unknown = body[name] ?? undefined;
  if (schema === undefined) return undefined;
  if (typeof schema === "string") {
    const { isTooDeep, parts } = measureJson(schema);
    if (isTooDeep) throw invalidValue(param, `JSON that is nested at most ${DEPTH_MAX} levels deep`);
    if (parts > PARTS_MAX) throw invalidValue(param, `JSON of at most ${PARTS_MAX} strings, objects and arrays`);
    try {
      schema = parseExactly(schema);
    } catch {
      throw invalidValue(param, "a JSON Schema");
    }
  }
  if (!isObject(schema)) throw invalidType(param, "a JSON Schema", schema);
  return { param, json: { schema } };
}

function readStructuredOutputs(body: JsonObject): WantedJson | undefined {
  const param = "structured_outputs";
  const wanted = optionalObject(body, param);
  if (wanted === undefined) return undefined;
  checkParameters(wanted, structuredOutputsTable, param);
  const schema = readSchema(wanted, "json", `${param}.json`);
  if (!optionalBoolean(wanted, "json_object", false, `${param}.json_object`)) return schema;
  if (schema !== undefined) throw onlyOneOf(schema.param, `${param}.json_object`);
  return { param, json: "object" };
}

function compiled(form: AnswerForm, param: string): Uint8Array {
  try {
    return answerGrammar(form);
  } catch (error) {
    if (error instanceof SchemaError) throw refusedSchema(error, param);
    if (!(error instanceof ToolSchemaError) || !(error.cause instanceof SchemaError)) throw error;
    throw refusedSchema(error.cause, error.tool.path);
  }
}

function refusedSchema({ path, message, isUnsupported }: SchemaError, param: string): RequestError {
  const code = isUnsupported ? "unsupported_schema" : "invalid_json_schema";
  return invalid(param, code, `Invalid schema for '${param}': at ${path}: ${message}.`);
}
