/** Schemas as Zod and pydantic write them (tests/fixtures/schemas), and ajv as their judge. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { parseExactly } from "../../src/json.ts";

/** A schema of one of those libraries. */
export interface LibrarySchema {
  name: string;
  /** The draft, where it is not the newest. */
  target?: string;
  schema: Record<string, unknown>;
}

/** Reads a file of them. */
export function librarySchemas(name: "zod.json" | "pydantic.json"): LibrarySchema[] {
  return parseExactly(readFileSync(join(import.meta.dir, "../fixtures/schemas", name), "utf8")) as LibrarySchema[];
}

/** Checks values by a schema: annotations that ajv doesn't know are left to it, and patterns of Rust are written as JavaScript's. */
export function validator({ target, schema }: Omit<LibrarySchema, "name">): (value: unknown) => boolean {
  const options = { strict: false, logger: false, multipleOfPrecision: 6 } as const;
  const ajv = target === "draft-7" ? new Ajv(options) : new Ajv2020(options);
  addFormats(ajv);
  const text = JSON.stringify(schema)
    .replaceAll("\\\\A", "^")
    .replaceAll("\\\\z", "$")
    .replaceAll(/\\\\([-!])/g, "$1");
  return ajv.compile(JSON.parse(text));
}
