/** Questions to whoever sits at the terminal. */

import { createInterface } from "node:readline";

/** Whether there is somebody who can be asked. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks for a yes, which an empty line is as well. Ctrl-C and Ctrl-D are no. */
export async function askYes(question: string): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await new Promise<boolean>((resolve) => {
      lines.on("close", () => resolve(false));
      lines.on("SIGINT", () => {
        process.stderr.write("\n");
        lines.close();
      });
      lines.question(`${question} [Y/n] `, (answer) => resolve(/^(y|yes)?$/i.test(answer.trim())));
    });
  } finally {
    lines.close();
  }
}
