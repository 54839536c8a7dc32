/**
 * Post-processors, as Hugging Face's tokenizers have them, as far as a text that is to be continued needs them: the tokens that are put
 * before it. Those that would end it are left out. A kind that is not here is refused by name.
 */

import { isObject } from "../json.ts";
import { ConfigFields, Fault, printable } from "../model_file/config_fields.ts";
import type { Stage } from "./tokenizer_files.ts";

/**
 * The ids that are put before every text.
 *
 * @param idOf the id of a token of the model; undefined for what is none.
 * @param isId whether a number is the id of a token of the model.
 * @throws Fault for what is unknown or wrong.
 */
export function readBeginning(
  stage: Stage | null,
  idOf: (token: string) => number | undefined,
  isId: (id: unknown) => boolean,
): number[] {
  if (stage === null) return [];
  const fields = new ConfigFields(stage, "post_processor");
  switch (stage.type) {
    case "Sequence":
      // Each puts its tokens around what those before it have made.
      return (stage.processors ?? []).toReversed().flatMap((each) => readBeginning(each, idOf, isId));
    case "ByteLevel":
      return [];
    case "BertProcessing":
    case "RobertaProcessing":
      return [known(Array.isArray(stage.cls) ? stage.cls[0] : stage.cls, idOf)];
    case "TemplateProcessing": {
      const { single } = stage;
      if (!Array.isArray(single)) throw new Fault("post_processor lacks single");
      const text = single.findIndex((piece) => isObject(piece) && isObject(piece.Sequence));
      const special = fields.has("special_tokens")
        ? new ConfigFields(stage.special_tokens, "special_tokens")
        : undefined;
      return single.slice(0, Math.max(0, text)).flatMap((piece) => {
        const name = isObject(piece) && isObject(piece.SpecialToken) ? piece.SpecialToken.id : undefined;
        const id = known(name, idOf);
        const given = special?.raw(name as string);
        const ids: unknown = isObject(given) ? given.ids : [id];
        // One name may stand for several tokens, of which the model has each.
        if (Array.isArray(ids) && ids.every(isId)) return ids as number[];
        const found = printable(JSON.stringify(ids) ?? "missing");
        throw new Fault(`post_processor has the ids ${found} for '${printable(String(name))}', which the model lacks`);
      });
    }
    default:
      throw new Fault(`post_processor ${printable(String(stage.type))} is not supported`);
  }
}

function known(token: unknown, idOf: (token: string) => number | undefined): number {
  const id = typeof token === "string" ? idOf(token) : undefined;
  if (id !== undefined) return id;
  throw new Fault(`post_processor puts '${printable(String(token))}' around texts, which is no token of the model`);
}
