/** Texts from files and from stdin that go into a message. */

import { fstatSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename } from "node:path";
import { describeSystemError, Failure } from "../errors.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { notes } from "../terminal/output.ts";
import type { ChatModel } from "./chat_model.ts";

/** Longest text, as long as a request to the server may be. */
const BYTES_MAX = 8 << 20;

/** A file that is attached to a message. */
export interface Attachment {
  path: string;
  text: string;
}

/** Reads the files that are attached to a message. @throws Failure that names the file. */
export async function readAttachments(paths: readonly string[]): Promise<Attachment[]> {
  const attachments: Attachment[] = [];
  for (const path of paths) attachments.push({ path, text: await readFile(path) });
  return attachments;
}

/**
 * Checks that the model can hold each file.
 *
 * @returns the text that goes before the message.
 * @throws Failure that names the file.
 */
export async function attachedText(attachments: readonly Attachment[], model: ChatModel): Promise<string> {
  const parts: string[] = [];
  for (const { path, text } of attachments) {
    const fault = await model.faultOf(text);
    if (fault !== undefined) throw new Failure(`${path}: ${fault}; attach a shorter text`);
    notes.write(`(attached: ${path}, ${formatBytes(Buffer.byteLength(text))})\n`);
    parts.push(`${basename(path)}:\n\n${text.trimEnd()}\n\n`);
  }
  return parts.join("");
}

/** Reads all of stdin, without the newlines at its end. @throws Failure. */
export async function readStdin(): Promise<string> {
  return (await readText(Bun.stdin.stream(), "stdin")).replace(/[\r\n]+$/, "");
}

async function readFile(path: string): Promise<string> {
  try {
    const file = await open(path, "r");
    try {
      if (fstatSync(file.fd).isDirectory()) throw new Failure(`${path}: is a directory; attach a text file`);
      return await readText(file.createReadStream({ autoClose: false }), path);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${path}: ${describeSystemError(error)}`);
  }
}

async function readText(stream: AsyncIterable<Uint8Array>, name: string): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of stream) {
    length += piece.length;
    if (length > BYTES_MAX)
      throw new Failure(`${name}: is larger than ${formatBytes(BYTES_MAX)}; no model's context holds that`);
    pieces.push(piece);
  }
  const bytes = Buffer.concat(pieces);
  if (bytes.includes(0)) throw new Failure(`${name}: is no text (it has bytes that are zero)`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Failure(`${name}: is no text in UTF-8; 'iconv -f LATIN1 -t UTF-8' converts many others`);
  }
}
