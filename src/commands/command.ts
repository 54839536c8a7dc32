/** What main.ts knows of a subcommand. */
export interface Command {
  /** The word on the command line. */
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** The text of `wrinklefree <name> --help`. */
  usage: string;
  /** Runs with the arguments after the command's name and resolves to the exit code. */
  run(args: string[]): Promise<number>;
}
