/**
 * Makes symbols.ts from csrc/wrinklefree.h, so that the two can't drift apart: run by `bun build.ts symbols`, and by
 * `bun run check` to see whether they have.
 *
 * It understands what the header promises to hold and nothing else: `#define NAME integer`, structs of fixed-width fields, and
 * declarations that start with WF_API. Anything it can't read is an error, never a guess.
 */

const scalarTypes: Record<string, { ffi: string; size: number }> = {
  uint32_t: { ffi: "u32", size: 4 },
  int32_t: { ffi: "i32", size: 4 },
  uint64_t: { ffi: "u64", size: 8 },
  float: { ffi: "f32", size: 4 },
  double: { ffi: "f64", size: 8 },
};

/** The ffi type of a parameter or result. Pointers to opaque handles are numbers; all other pointers are views of JavaScript memory. */
function ffiType(type: string, opaque: Set<string>, isResult: boolean): string {
  const bare = type.replace(/\bconst\b/g, "").trim();
  if (bare === "void" && isResult) return "void";
  if (!bare.includes("*")) {
    const scalar = scalarTypes[bare];
    if (scalar === undefined) throw new Error(`wrinklefree.h: no ffi type for '${type}'`);
    return scalar.ffi;
  }
  const target = bare.replace("*", "").trim();
  if (opaque.has(target)) return "ptr";
  if (isResult) {
    if (target !== "char") throw new Error(`wrinklefree.h: no ffi type for the result '${type}'`);
    return "cstring";
  }
  return "buffer";
}

/** The value of a constant: 64, 64U or (1U << 24). */
function integer(text: string): number {
  const [, digits, shift] = /^\(?(\d+)U?(?: << (\d+)\))?$/.exec(text.trim()) ?? [];
  if (digits === undefined) throw new Error(`wrinklefree.h: no integer: '${text.trim()}'`);
  return Number(digits) * 2 ** Number(shift ?? 0);
}

/** The offsets and types of a struct's fields, laid out as C does: each at a multiple of its own size. */
function layout(name: string, body: string): string {
  let offset = 0;
  let alignment = 1;
  const fields: string[] = [];
  for (const declaration of body.split(";").map((part) => part.trim())) {
    if (declaration === "") continue;
    const [type = "", field = ""] = declaration.split(/\s+/);
    const scalar = scalarTypes[type];
    if (scalar === undefined || !/^\w+$/.test(field))
      throw new Error(`wrinklefree.h: can't read '${declaration}' in ${name}`);
    offset = Math.ceil(offset / scalar.size) * scalar.size;
    fields.push(`      ${field}: { offset: ${offset}, type: "${scalar.ffi}" },`);
    offset += scalar.size;
    alignment = Math.max(alignment, scalar.size);
  }
  const size = Math.ceil(offset / alignment) * alignment;
  return [`  ${name}: {`, `    size: ${size},`, "    fields: {", ...fields, "    },", "  },"].join("\n");
}

/** The text of symbols.ts for the text of wrinklefree.h. */
export function generateSymbols(header: string): string {
  const code = header.replace(/\/\*[\s\S]*?\*\//g, " ");
  const constants = [...code.matchAll(/^#define WF_(?!API\b)(\w+) (.+)$/gm)].map(
    ([, name, value = ""]) => `export const ${name} = ${integer(value)};`,
  );
  const opaque = new Set([...code.matchAll(/typedef struct \w+ (\w+);/g)].map((match) => match[1] as string));
  const layouts = [...code.matchAll(/typedef struct \w+ \{([^}]*)\} (\w+);/g)].map((match) =>
    layout(match[2] as string, match[1] as string),
  );
  const symbols = [...code.matchAll(/^WF_API ([^;(]*?)(\w+)\(([^;]*?)\);/gm)].map(
    ([, result = "", name, parameters = ""]) => {
      const types = parameters
        .split(",")
        .map((parameter) => parameter.trim())
        .filter((parameter) => parameter !== "void")
        .map((parameter) => `"${ffiType(parameter.replace(/\w+$/, ""), opaque, false)}"`);
      return `  ${name}: { args: [${types.join(", ")}], returns: "${ffiType(result, opaque, true)}" },`;
    },
  );
  const declared = code.match(/^WF_API /gm)?.length ?? 0;
  if (symbols.length !== declared) throw new Error(`wrinklefree.h: read ${symbols.length} of ${declared} declarations`);
  return `/** Generated from csrc/wrinklefree.h by \`bun build.ts symbols\`. Do not edit. */

${constants.join("\n")}

/** Every exported function, as bun:ffi wants it. */
export const symbols = {
${symbols.join("\n")}
} as const;

/** Every struct: its size in bytes, and where each field lies. */
export const layouts = {
${layouts.join("\n")}
} as const;
`;
}
