/**
 * Schemas of Zod 4, as people write them, and what `z.toJSONSchema` makes of them. `bun tests/tools/zod-schemas.ts` writes
 * tests/fixtures/schemas/zod.json.
 */

import { join } from "node:path";
import { z } from "zod";

const Address = z.object({
  street: z.string().min(1).max(40),
  city: z.string().max(20),
  zip: z.string().regex(/^\d{5}(-\d{4})?$/),
});
const Category = z.object({
  name: z.string().max(8),
  get children() {
    return z.array(Category).max(2);
  },
});
const Shape = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("circle"), radius: z.number().positive().max(99) }),
  z.object({ kind: z.literal("square"), side: z.number().min(0).max(99) }),
  z.object({ kind: z.literal(["point", "origin"]) }),
]);
const Expression: z.ZodType = z.union([
  z.number().int().min(0).max(99),
  z.object({ op: z.enum(["+", "-"]), args: z.array(z.lazy(() => Expression)).length(2) }),
]);

/** By name. */
export const zodSchemas: Readonly<Record<string, z.ZodType>> = {
  email: z.email(),
  "email up to a length": z.object({ to: z.email().max(254), cc: z.array(z.email()).max(2).optional() }),
  uuid: z.uuid(),
  "uuid of version 4": z.uuidv4(),
  "uuid of version 7": z.uuidv7(),
  guid: z.guid(),
  url: z.url(),
  "url of the web": z.httpUrl(),
  hostname: z.hostname(),
  emoji: z.emoji(),
  base64: z.base64().max(24),
  base64url: z.base64url().max(24),
  nanoid: z.nanoid(),
  cuid2: z.cuid2(),
  ulid: z.ulid(),
  ksuid: z.ksuid(),
  ipv4: z.ipv4(),
  ipv6: z.ipv6(),
  mac: z.mac(),
  "network of version 4": z.cidrv4(),
  "network of version 6": z.cidrv6(),
  "telephone number": z.e164(),
  hash: z.hash("sha256"),
  date: z.iso.date(),
  time: z.iso.time(),
  "date and time": z.iso.datetime(),
  "date and time with an offset": z.iso.datetime({ offset: true }),
  "local date and time": z.iso.datetime({ local: true }),
  "date and time with milliseconds": z.iso.datetime({ precision: 3 }),
  duration: z.iso.duration(),
  "several patterns": z.string().regex(/[a-z]/).regex(/\d$/).min(3).max(9),
  "beginning, middle and end": z.string().startsWith("id.").includes("-").endsWith("!").max(12),
  lowercase: z.string().lowercase().min(2).max(6),
  password: z.string().regex(/^(?=.*[a-z])(?=.*[A-Z])(?=.*\d)(?!.*\s).{8,16}$/),
  template: z.templateLiteral(["v", z.int().min(0).max(9), ".", z.enum(["alpha", "beta"])]),
  integers: z.object({ a: z.int(), b: z.int32(), c: z.uint32(), d: z.number().int().positive().lt(10) }),
  numbers: z.object({
    ratio: z.number().gt(0).lt(1),
    price: z.number().multipleOf(0.01).min(0).max(999),
    size: z.float32(),
  }),
  "nullable, optional and default": z.object({
    a: z.string().max(5).nullable(),
    b: z.boolean().optional(),
    c: z.enum(["x", "y"]).nullish(),
    d: z.number().max(9).min(0).default(1),
  }),
  literals: z.object({ a: z.literal("only"), b: z.literal([1, "one", null, true]), c: z.null() }),
  enums: z
    .array(z.enum(["red", "green", "blue"]))
    .min(1)
    .max(3),
  tuple: z.tuple([z.string().max(4), z.int().min(0).max(9), z.boolean()]),
  "tuple with more": z.tuple([z.literal("sum")], z.string().max(5)),
  record: z.record(z.string(), z.int().min(0).max(9)),
  "record of an enum": z.record(z.enum(["low", "high"]), z.number().min(0).max(1)),
  "record of some of an enum": z.partialRecord(z.enum(["low", "mid", "high"]), z.boolean()),
  "record of numbers": z.record(z.number().int(), z.boolean()),
  "record by a pattern": z.record(z.string().regex(/^x-[a-z]{1,4}$/), z.string().max(5)),
  "loose record": z.looseRecord(z.string().regex(/^data_/), z.int().min(0).max(9)),
  "loose object": z.looseObject({ id: z.uuid() }),
  "strict object": z.strictObject({ id: z.int().min(1).max(5) }),
  catchall: z.object({ name: z.string().max(5) }).catchall(z.int().min(0).max(9)),
  intersection: z.intersection(z.object({ a: z.boolean() }), z.object({ b: z.email() })),
  never: z.object({ a: z.never().optional(), b: z.boolean() }),
  union: z.union([z.string().max(5), z.int().min(0).max(9).nullable(), z.array(z.boolean()).max(2)]),
  "exclusive union": z.xor([z.string().max(5), z.boolean()]),
  shapes: z.array(Shape).min(1).max(2),
  recursion: Category,
  "mutual recursion": Expression,
  json: z.object({ any: z.json() }),
  metadata: z
    .object({ n: z.boolean().meta({ title: "N", examples: [true], deprecated: true, "x-order": 1 }) })
    .describe("d"),
  "registered parts": z.object({ home: Address.meta({ id: "Address" }), work: Address.optional() }),
  person: z.object({
    name: z.string().min(1).max(20).describe("The person's full name"),
    age: z.number().int().min(0).max(150),
    email: z.email().optional(),
    born: z.iso.date(),
    tags: z.array(z.string().max(8)).max(3),
    address: Address.nullable(),
  }),
  "calendar event": z.object({
    title: z.string().min(1).max(30),
    start: z.iso.datetime({ offset: true }),
    duration: z.iso.duration(),
    attendees: z
      .array(z.object({ email: z.email(), role: z.enum(["host", "guest"]) }))
      .min(1)
      .max(2),
    url: z.url().nullish(),
  }),
};

/** A JSON Schema that the library makes. */
export interface ZodJsonSchema {
  name: string;
  target: "draft-2020-12" | "draft-7";
  schema: Record<string, unknown>;
}

/** What the library makes of all of them: by draft 2020-12, and by draft 7 where that is another schema. */
export function zodJsonSchemas(): ZodJsonSchema[] {
  return Object.entries(zodSchemas).flatMap(([name, schema]) => {
    const made = (["draft-2020-12", "draft-7"] as const).map((target) => ({
      name,
      target,
      schema: z.toJSONSchema(schema, { target }) as Record<string, unknown>,
    }));
    const [text, other] = made.map((one) => JSON.stringify({ ...one.schema, $schema: "" }));
    return text === other ? made.slice(0, 1) : made;
  });
}

if (import.meta.main) {
  const path = join(import.meta.dir, "../fixtures/schemas/zod.json");
  await Bun.write(path, `${JSON.stringify(zodJsonSchemas(), null, 1)}\n`);
}
