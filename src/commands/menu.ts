/** `wrinklefree` without anything behind it, at a terminal: a short list of what one can do. */

import { type Given, givenBy } from "../models/inventory.ts";
import { notes } from "../terminal/output.ts";
import { plural } from "../terminal/plural.ts";
import { askLine } from "../terminal/question.ts";
import { summary, version } from "../version.ts";
import type { CommandTable } from "./command.ts";
import { storedModels } from "./implied_run.ts";

/** Models of the store that are listed. */
const MODELS_MAX = 5;

interface Choice {
  text: string;
  /** The command line; undefined: there is none after all. */
  line: () => Promise<string[] | undefined>;
}

/** A model of the store, by its name there. */
interface StoredModel {
  name: string;
  gives: Given;
}

/** Lets the person choose. @returns a command line; undefined when nothing is wanted. */
export async function chooseFromMenu(table: CommandTable): Promise<string[] | undefined> {
  const stored = await packedModels(table);
  const answering = stored.filter(({ gives }) => gives === "text");
  const more = stored.length - Math.min(answering.length, MODELS_MAX);
  const [served = stored[0]] = answering;
  const users = served?.gives === "embeddings" ? "programs, for embeddings" : "web browsers and other programs";
  const choices: Choice[] = [
    ...answering
      .slice(0, MODELS_MAX)
      .map(({ name }) => ({ text: `chat with ${name}`, line: async () => ["chat", name] })),
    { text: "chat with the demo model, which knows a few capitals and little else", line: async () => ["chat"] },
    {
      text: `serve ${served?.name ?? "the demo model"} to ${users}`,
      line: async () => (served === undefined ? ["serve"] : ["serve", served.name]),
    },
    { text: "pull a model from the Hugging Face hub", line: askForPull },
    { text: "measure how fast this machine is", line: async () => ["bench", "--shape", "2b-4t"] },
    { text: "list all commands", line: async () => ["help"] },
  ];
  notes.write(`wrinklefree ${version}: ${summary}\n\n`);
  notes.write(choices.map(({ text }, index) => `  ${index + 1}  ${text}\n`).join(""));
  if (more > 0) notes.write(`\n'wrinklefree list' shows ${plural(more, "more model")}.\n`);
  for (;;) {
    const answer = (await askLine(`\n1 to ${choices.length}, or Enter to leave: `))?.trim();
    if (!answer) return undefined;
    const choice = /^\d+$/.test(answer) ? choices[Number(answer) - 1] : undefined;
    if (choice !== undefined) return await choice.line();
    notes.write(`There is no '${answer}' in the list.\n`);
  }
}

/** The models of the store that can be served at once. */
async function packedModels(table: CommandTable): Promise<StoredModel[]> {
  const found: StoredModel[] = [];
  for (const entry of (await storedModels(table)).entries) {
    const gives = await givenBy(entry);
    // One that is damaged, or has no tokenizer, is nothing to offer.
    if (gives !== null) found.push({ name: entry.name, gives });
  }
  return found;
}

async function askForPull(): Promise<string[] | undefined> {
  const name = (await askLine("Its name (microsoft/bitnet-b1.58-2B-4T): "))?.trim();
  return name === undefined ? undefined : ["pull", name || "microsoft/bitnet-b1.58-2B-4T"];
}
