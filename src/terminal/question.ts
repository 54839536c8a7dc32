/** Questions to whoever sits at the terminal. */

import { createInterface } from "node:readline";

/** Whether there is somebody who can be asked. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks for a line. Ctrl-C and Ctrl-D are none. */
export async function askLine(question: string): Promise<string | undefined> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await new Promise<string | undefined>((resolve) => {
      lines.on("close", () => resolve(undefined));
      lines.on("SIGINT", () => {
        process.stderr.write("\n");
        lines.close();
      });
      lines.question(question, resolve);
    });
  } finally {
    lines.close();
  }
}

/** Asks for a yes, which an empty line is as well. */
export async function askYes(question: string): Promise<boolean> {
  const answer = await askLine(`${question} [Y/n] `);
  return answer !== undefined && /^(y|yes)?$/i.test(answer.trim());
}
