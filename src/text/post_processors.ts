/**
 * Post-processors, as Hugging Face's tokenizers have them: the tokens that are put before and behind a text. A text that is to be continued
 * takes the former, one that is embedded both. A kind that is not here is refused by name.
 */

import { isObject } from "../json.ts";
import { ConfigFields, Fault, printable } from "../model_file/config_fields.ts";
import type { Stage } from "./tokenizer_files.ts";

/** The ids around a text. */
interface Around {
  beginning: number[];
  end: number[];
}

/**
 * The ids that are put around every text.
 *
 * @param idOf the id of a token of the model; undefined for what is none.
 * @param isId whether a number is the id of a token of the model.
 * @throws Fault for what is unknown or wrong.
 */
export function readAround(
  stage: Stage | null,
  idOf: (token: string) => number | undefined,
  isId: (id: unknown) => boolean,
): Around {
  if (stage === null) return { beginning: [], end: [] };
  const fields = new ConfigFields(stage, "post_processor");
  switch (stage.type) {
    case "Sequence": {
      // Each puts its tokens around what those before it have made.
      const all = (stage.processors ?? []).map((each) => readAround(each, idOf, isId));
      return {
        beginning: all.toReversed().flatMap(({ beginning }) => beginning),
        end: all.flatMap(({ end }) => end),
      };
    }
    case "ByteLevel":
      return { beginning: [], end: [] };
    case "BertProcessing":
    case "RobertaProcessing": {
      const [cls, sep] = [stage.cls, stage.sep].map((token) => known(Array.isArray(token) ? token[0] : token, idOf));
      return { beginning: [cls as number], end: [sep as number] };
    }
    case "TemplateProcessing": {
      const { single } = stage;
      if (!Array.isArray(single)) throw new Fault("post_processor lacks single");
      const text = single.findIndex((piece) => isObject(piece) && isObject(piece.Sequence));
      const special = fields.has("special_tokens")
        ? new ConfigFields(stage.special_tokens, "special_tokens")
        : undefined;
      const idsOf = (piece: unknown) => {
        const name = isObject(piece) && isObject(piece.SpecialToken) ? piece.SpecialToken.id : undefined;
        const id = known(name, idOf);
        const given = special?.raw(name as string);
        const ids: unknown = isObject(given) ? given.ids : [id];
        // One name may stand for several tokens, of which the model has each.
        if (Array.isArray(ids) && ids.every(isId)) return ids as number[];
        const found = printable(JSON.stringify(ids) ?? "missing");
        throw new Fault(`post_processor has the ids ${found} for '${printable(String(name))}', which the model lacks`);
      };
      if (text < 0) return { beginning: [], end: [] };
      return { beginning: single.slice(0, text).flatMap(idsOf), end: single.slice(text + 1).flatMap(idsOf) };
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
