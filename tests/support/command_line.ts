/** Runs the program's command line in a process of its own, the way a person would. */

import { join } from "node:path";

/** The root of the repository. */
export const root = join(import.meta.dir, "..", "..");

/** The checkpoints that tests use. */
export const fixtures = join(root, "tests", "fixtures");

/** How a run ended. */
export interface CommandResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs `wrinklefree …args` from the sources and waits for its end. */
export function runCommandLine(args: string[], environment: Record<string, string> = {}): CommandResult {
  const { exitCode, stdout, stderr } = Bun.spawnSync([process.execPath, join(root, "src", "main.ts"), ...args], {
    cwd: root,
    env: { ...process.env, ...environment },
    stdin: "ignore",
    timeout: 300_000, // ends what hangs
  });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}
