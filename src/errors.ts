/**
 * The ways in which a command ends badly. Everything that a person can cause is one of these; anything else that reaches
 * main.ts is a bug and keeps its stack.
 */

/** A command that could not do its work: printed as one line on stderr, exit code 1. */
export class Failure extends Error {
  override name = "Failure";
}

/** A failure for want of memory, which may pass. */
export class MemoryFailure extends Failure {
  override name = "MemoryFailure";
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

/** What was thrown that nobody foresaw, for those who look for its cause. */
export function describeBug(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** What went wrong in a call to the operating system, in words and without its path. */
export function describeSystemError(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  const words: Record<string, string> = {
    ENOENT: "no such file or directory",
    ENOTDIR: "a part of the path is not a directory",
    EACCES: "permission denied",
    EPERM: "operation not permitted",
    EISDIR: "is a directory",
    ENOSPC: "no space left on the device",
    EDQUOT: "disk quota exceeded",
    EROFS: "the file system is read-only",
    EFBIG: "the file would be larger than allowed here",
    EIO: "input/output error",
    EMFILE: "too many open files",
    ELOOP: "too many levels of symbolic links",
    ENAMETOOLONG: "the file name is too long",
  };
  // Other messages are like "EEXIST: file already exists, mkdir '/x'".
  const [, cause] = /^[A-Z][A-Z0-9]+: (.+?), [a-z]+(?: '.*')?$/s.exec((error as Error).message) ?? [];
  return (code !== undefined && words[code]) || cause || (error as Error).message;
}
