/**
 * Calls of the library that take long, each on a thread of its own: opening a model, starting an engine, ending one. The event loop
 * goes on meanwhile; a doorbell tells when the call has returned.
 */

import { closeSync } from "node:fs";
import { checked, library, type Pointer, unpackStruct } from "./library.ts";
import { layouts } from "./symbols.ts";

/** Milliseconds between two looks at how far a call is. */
const PROGRESS_INTERVAL_MS = 100;

/** Told how many bytes a call has read, and of how many. */
export type OnProgress = (progress: { done: number; total: number }) => void;

/**
 * Begins a call and waits for it.
 *
 * Both give a pointer.
 *
 * @param begin Starts it; null and an error line when that fails.
 * @param end Gives its result; null and an error line when it failed.
 * @param onProgress Called now and then, if the call takes so long.
 * @throws Failure with the library's line.
 */
export async function onThread(
  begin: (error: Uint8Array, size: number) => unknown,
  end: (task: Pointer, error: Uint8Array, size: number) => unknown,
  onProgress?: OnProgress,
): Promise<Pointer> {
  const task = checked(begin, (result) => result === null) as Pointer;
  const timer = setInterval(() => {
    const progress = progressOf(task);
    if (progress.total > 0) onProgress?.(progress);
  }, PROGRESS_INTERVAL_MS);
  await returned(task);
  clearInterval(timer);
  return checked(
    (error, size) => end(task, error, size),
    (result) => result === null,
  ) as Pointer;
}

function progressOf(task: Pointer): { done: number; total: number } {
  const progress = new Uint8Array(layouts.wf_progress.size);
  library().wf_task_progress(task, progress);
  return unpackStruct(layouts.wf_progress, progress);
}

/** Resolves when a task's call has returned. */
export async function returned(task: Pointer): Promise<void> {
  const doorbell = library().wf_task_doorbell(task);
  for await (const _ of Bun.file(doorbell).stream()); // nothing is written to it: it ends
  closeSync(doorbell);
}
