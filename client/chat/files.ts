/** Files from and to the reader's disk. */

import { countTokens } from "../api/tokens.ts";
import type { Attachment } from "../model/conversation.ts";
import { formatCount, plural } from "../text/format.ts";

/** Larger files are not read: no context holds them. */
const BYTES_MAX = 4 * 1024 * 1024;

/** A text file, read, with its tokens. */
export type ReadAttachment = Attachment & { tokens: number };

/** Lets the browser save a text as a file. */
export function saveFile(name: string, type: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * Reads a text file for a prompt.
 *
 * @param countRoom says how many tokens it may have.
 * @throws Error that says why it can't be taken.
 */
export async function readAttachment(file: File, countRoom: () => Promise<number>): Promise<ReadAttachment> {
  if (file.size > BYTES_MAX)
    throw new Error(`${file.name} is too large: the model can hold ${plural(await countRoom(), "more token")}.`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error(`${file.name} is no text. Only text files can be given to the model.`);
  }
  if (text.includes("\0")) throw new Error(`${file.name} is no text. Only text files can be given to the model.`);
  if (text === "") throw new Error(`${file.name} is empty.`);
  const [tokens, room] = await Promise.all([countTokens(text), countRoom()]);
  if (tokens > room) {
    throw new Error(`${file.name} has ${plural(tokens, "token")}; the model can hold ${formatCount(room)} more.`);
  }
  return { name: file.name, text, tokens };
}
