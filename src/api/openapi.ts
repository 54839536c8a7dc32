/**
 * How this API is described for programs, in OpenAPI's terms: the types, and the words from which each dialect's folder makes the
 * description of its own paths.
 */

import type { Range } from "./schema.ts";

/** A JSON Schema (2020-12), as OpenAPI 3.1 has it. */
export interface Schema {
  type?: string | readonly string[];
  description?: string;
  enum?: readonly unknown[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  minItems?: number;
  maxItems?: number;
  items?: Schema;
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  additionalProperties?: Schema;
  anyOf?: readonly Schema[];
  default?: unknown;
  $ref?: string;
}

/** One operation: a method on a path. */
export interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  security?: readonly object[];
  parameters?: readonly object[];
  requestBody?: { required: true; content: Record<string, { schema: Schema }> };
  responses: Readonly<
    Record<string, { description: string; headers?: object; content?: Record<string, { schema: Schema }> }>
  >;
}

/** The whole description. */
export interface OpenApiDocument {
  openapi: string;
  info: { title: string; version: string; description: string; license: { name: string; identifier: string } };
  servers: readonly { url: string }[];
  security: readonly object[];
  paths: Readonly<Record<string, { get?: Operation; post?: Operation }>>;
  components: { schemas: Readonly<Record<string, Schema>>; securitySchemes: object };
}

/** The part of the description that one dialect makes. */
export type Described = Pick<OpenApiDocument, "paths"> & Pick<OpenApiDocument["components"], "schemas">;

// The simplest schemas, and what others are put together with.

export const string: Schema = { type: "string" };
export const boolean: Schema = { type: "boolean" };
export const integer: Schema = { type: "integer" };
export const number: Schema = { type: "number" };
/** A schema of the document by its name. */
export const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
/** @param more bounds of its length. */
export const array = (items: Schema, more: Schema = {}): Schema => ({ type: "array", items, ...more });
/** @param required properties that have to be there. */
export const object = (properties: Record<string, Schema>, required: readonly string[] = []): Schema => ({
  type: "object",
  properties,
  required,
});
/** An object all of whose properties are there. */
export const whole = (properties: Record<string, Schema>): Schema => object(properties, Object.keys(properties));
/** A schema with a sentence about it. */
export const said = (schema: Schema, description: string): Schema => ({ ...schema, description });
/** A parameter that may be null, which is as good as absent. */
export const orNull = (schema: Schema): Schema =>
  typeof schema.type === "string" && schema.enum === undefined
    ? { ...schema, type: [schema.type, "null"] }
    : { anyOf: [schema, { type: "null" }] };
/** Parameters each of which may be null. */
export const allOrNull = (properties: Record<string, Schema>): Record<string, Schema> =>
  Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, orNull(schema)]));
/** The bounds that a reader checks. */
export const within = ({ low, high }: Range): Schema => ({ minimum: low, maximum: high });

const json = (schema: Schema) => ({ "application/json": { schema } });
const retryAfter = { "Retry-After": { description: "Seconds to wait.", schema: integer } };

const failures = {
  "400": { description: "The request is wrong; `param` names what.", content: json(ref("Error")) },
  "401": { description: "No API key, or a wrong one.", content: json(ref("Error")) },
  "403": { description: "A host name under which the server doesn't answer.", content: json(ref("Error")) },
  "404": { description: "Another model's name.", content: json(ref("Error")) },
  "408": { description: "The body did not arrive in time.", content: json(ref("Error")) },
  "413": { description: "The body is too large.", content: json(ref("Error")) },
  "415": { description: "The body's encoding is not known.", content: json(ref("Error")) },
  "429": { description: "Too much is under way.", headers: retryAfter, content: json(ref("Error")) },
  "500": { description: "A fault of the server.", content: json(ref("Error")) },
  "503": { description: "Loading or shutting down.", headers: retryAfter, content: json(ref("Error")) },
};

/**
 * What POST does on a path.
 *
 * @param request the name of the body's schema.
 * @param chunk what the events of a stream hold, where the answer can be one.
 */
export function post(operationId: string, summary: string, request: string, answer: Schema, chunk?: Schema): Operation {
  const content = { ...json(answer), ...(chunk === undefined ? {} : { "text/event-stream": { schema: chunk } }) };
  return {
    operationId,
    summary,
    requestBody: { required: true, content: json(ref(request)) },
    responses: { "200": { description: "The answer.", content }, ...failures },
  };
}

/** What GET does on a path. @param statuses of its failures. */
export function get(
  operationId: string,
  summary: string,
  answer: Schema,
  statuses: (keyof typeof failures)[],
): Operation {
  const content = answer.type === "string" ? { "text/plain": { schema: answer } } : json(answer);
  return {
    operationId,
    summary,
    responses: {
      "200": { description: "The answer.", content },
      ...Object.fromEntries(statuses.map((status) => [status, failures[status]])),
    },
  };
}
