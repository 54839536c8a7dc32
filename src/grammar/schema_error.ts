/** What is wrong with a JSON Schema, or beyond what answers can be held to; where, and by which word. */

export class SchemaError extends Error {
  override name = "SchemaError";
  /** Where in the schema: #/properties/name. */
  readonly path: string;
  /** Whether it is a schema that only can't be followed. */
  readonly isUnsupported: boolean;

  constructor(path: string, message: string, isUnsupported: boolean) {
    super(message);
    this.path = path;
    this.isUnsupported = isUnsupported;
  }
}

/** The error for a schema that is none. */
export function invalidSchema(path: string, message: string): SchemaError {
  return new SchemaError(path, message, false);
}

/** The error for what answers can't be held to. */
export function unsupportedSchema(path: string, message: string): SchemaError {
  return new SchemaError(path, message, true);
}
