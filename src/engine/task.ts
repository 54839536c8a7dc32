/**
 * Calls of the library that take long, each on a thread of its own: opening a model, starting an engine, ending one. The event loop
 * goes on meanwhile; a doorbell tells when the call has returned.
 */

import { closeSync } from "node:fs";
import { checked, library, type Pointer } from "./library.ts";

/**
 * Begins a call and waits for it.
 *
 * Both give a pointer.
 *
 * @param begin Starts it; null and an error line when that fails.
 * @param end Gives its result; null and an error line when it failed.
 * @throws Failure with the library's line.
 */
export async function onThread(
  begin: (error: Uint8Array, size: number) => unknown,
  end: (task: Pointer, error: Uint8Array, size: number) => unknown,
): Promise<Pointer> {
  const task = checked(begin, (result) => result === null) as Pointer;
  await returned(task);
  return checked(
    (error, size) => end(task, error, size),
    (result) => result === null,
  ) as Pointer;
}

/** Resolves when a task's call has returned. */
export async function returned(task: Pointer): Promise<void> {
  const doorbell = library().wf_task_doorbell(task);
  for await (const _ of Bun.file(doorbell).stream()); // nothing is written to it: it ends
  closeSync(doorbell);
}
