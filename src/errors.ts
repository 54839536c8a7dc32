/**
 * The ways in which a command ends badly. Everything that a person can cause is one of these; anything else that reaches
 * main.ts is a bug and keeps its stack.
 */

/** A command that could not do its work: printed as one line on stderr, exit code 1. */
export class Failure extends Error {
  override name = "Failure";
}

/** A command line that makes no sense: printed as one line on stderr with a pointer to --help, exit code 2. */
export class UsageError extends Error {
  override name = "UsageError";
}

/**
 * Results that could not be written to stdout. It ends any command, also one that goes on after a Failure of one of its parts.
 * Printed as one line on stderr, exit code 1; when whoever was reading has left, it is quiet.
 */
export class OutputFailure extends Error {
  override name = "OutputFailure";

  /** @param isClosed whether nobody reads any more: stdout is a pipe whose other end is closed. */
  constructor(
    message: string,
    readonly isClosed: boolean,
  ) {
    super(message);
  }
}
