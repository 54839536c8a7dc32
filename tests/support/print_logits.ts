/** Prints a hash of the logits of some tokens: `bun print_logits.ts MODEL.wf VOCABULARY THREADS ID…`, for comparing kernel tiers. */

import { Model } from "../../src/engine/model.ts";

const [path, vocabulary, threads, ...ids] = process.argv.slice(2) as [string, string, string, ...string[]];
const model = await Model.open(path);
const logits = model.logits(Uint32Array.from(ids, Number), Number(threads), Number(vocabulary));
process.stdout.write(`${Bun.hash(new Uint8Array(logits.buffer, logits.byteOffset, logits.byteLength))}\n`);
model.close();
