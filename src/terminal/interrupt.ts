/**
 * Lets Ctrl-C and a polite kill end long work in an orderly way: the work is told through an AbortSignal and cleans up, then the
 * signal is raised again, so that the shell or the supervisor sees the process die of it.
 */

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs `work` with a signal that aborts on SIGINT, SIGTERM and SIGHUP. */
export async function interruptible<Result>(work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
  const controller = new AbortController();
  let received: (typeof signals)[number] | null = null;
  const handlers = signals.map((name) => {
    const handler = () => {
      received = name;
      controller.abort();
    };
    process.on(name, handler);
    return { name, handler };
  });
  try {
    return await work(controller.signal);
  } finally {
    for (const { name, handler } of handlers) process.off(name, handler);
    if (received !== null) process.kill(process.pid, received);
  }
}
