/** The commands that there are. */

import type { Command } from "./command.ts";

/** Each is loaded when it is wanted: a conversion need not wait for the HTTP server's code. */
export const commands: Readonly<Record<string, () => Promise<{ command: Command }>>> = {
  serve: () => import("./serve.ts"),
  chat: () => import("./chat.ts"),
  run: async () => ({ command: (await import("./chat.ts")).runCommand }),
  convert: () => import("./convert.ts"),
  pull: () => import("./pull.ts"),
  list: () => import("./list.ts"),
  rm: () => import("./rm.ts"),
  prune: () => import("./prune.ts"),
  inspect: () => import("./inspect.ts"),
  eval: () => import("./eval.ts"),
  check: () => import("./check.ts"),
  bench: () => import("./bench.ts"),
  doctor: () => import("./doctor.ts"),
  config: () => import("./config.ts"),
  systemd: () => import("./systemd.ts"),
  completions: () => import("./completions.ts"),
  man: () => import("./man.ts"),
};

/** All of them. */
export async function allCommands(): Promise<readonly Command[]> {
  return await Promise.all(Object.values(commands).map(async (load) => (await load()).command));
}
