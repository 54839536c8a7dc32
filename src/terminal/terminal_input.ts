/**
 * The terminal as a keyboard. While it is open the terminal hands over every key at once and shows none by itself. However this process
 * ends or stops, the terminal is given back as it was: by closing, at the process's exit, and before a signal ends or stops it. (A
 * crash of the runtime itself restores the mode too, by the runtime's own handler.)
 */

import { type Key, KeyDecoder } from "./keys.ts";
import { notes } from "./output.ts";

/** How long the rest of an escape sequence may take. */
const SEQUENCE_MS = 50;

/** How long a stop may take to come into effect. */
const STOP_MS = 50;

const BRACKETED_PASTE_ON = "\u001b[?2004h";
const BRACKETED_PASTE_OFF = "\u001b[?2004l";

const ENDING = ["SIGTERM", "SIGHUP"] as const;

/** Gets what happens at the terminal. */
export interface TerminalListener {
  onKey(key: Key): void;
  /** What this process drew may have been changed: the terminal has another size, or others wrote to it. */
  onChange(hasOtherSize: boolean): void;
  /** Before others write to the terminal. */
  onSuspend(): void;
  /** The terminal is gone. */
  onEnd(): void;
}

/** The keys of the terminal. Those that nobody listens to wait. */
export class TerminalInput {
  readonly #decoder = new KeyDecoder();
  readonly #characters = new TextDecoder();
  readonly #waiting: Key[] = [];
  #listener: TerminalListener | undefined;
  #isRaw = false;
  #isEnded = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Called instead of the listener for Ctrl-C, while there is none. */
  onInterrupt: () => void = () => undefined;

  private constructor() {}

  static open(): TerminalInput {
    const input = new TerminalInput();
    process.stdin.on("data", input.#onData);
    process.stdin.on("end", input.#onEnd);
    process.stdin.on("error", input.#onEnd);
    process.stderr.on("resize", input.#onResize);
    process.on("exit", input.#leave);
    process.on("SIGINT", input.#onInterruptSignal);
    process.on("SIGTSTP", input.#suspend);
    process.on("SIGCONT", input.#onContinue);
    for (const signal of ENDING) process.on(signal, input.#onEnding);
    input.#enter();
    process.stdin.resume();
    return input;
  }

  /** Gives the terminal back. */
  close(): void {
    this.#leave();
    clearTimeout(this.#timer);
    process.stdin.off("data", this.#onData);
    process.stdin.off("end", this.#onEnd);
    process.stdin.off("error", this.#onEnd);
    process.stdin.pause();
    process.stderr.off("resize", this.#onResize);
    process.off("exit", this.#leave);
    process.off("SIGINT", this.#onInterruptSignal);
    process.off("SIGTSTP", this.#suspend);
    process.off("SIGCONT", this.#onContinue);
    for (const signal of ENDING) process.off(signal, this.#onEnding);
  }

  /** Has keys go to a listener, those first that came before; undefined: they wait. */
  listen(listener: TerminalListener | undefined): void {
    this.#listener = listener;
    while (this.#listener === listener && listener !== undefined) {
      const key = this.#waiting.shift();
      if (key === undefined) break;
      listener.onKey(key);
    }
    if (this.#isEnded && this.#listener === listener) listener?.onEnd();
  }

  readonly #enter = (): void => {
    if (this.#isEnded) return;
    process.stdin.setRawMode(true);
    this.#isRaw = true;
    notes.write(BRACKETED_PASTE_ON);
  };

  readonly #leave = (): void => {
    if (!this.#isRaw) return;
    this.#isRaw = false;
    notes.write(BRACKETED_PASTE_OFF);
    process.stdin.setRawMode(false);
  };

  readonly #onData = (bytes: Uint8Array): void => {
    clearTimeout(this.#timer);
    this.#take(this.#decoder.push(this.#characters.decode(bytes, { stream: true })));
    if (!this.#decoder.isUnfinished) return;
    this.#timer = setTimeout(() => this.#take(this.#decoder.flush()), SEQUENCE_MS);
  };

  #take(keys: Key[]): void {
    for (const key of keys) {
      const name = key.kind === "press" ? key.name : undefined;
      if (name === "ctrl-z") {
        this.#suspend();
      } else if (this.#listener !== undefined) {
        this.#listener.onKey(key);
      } else if (name === "ctrl-c") {
        this.#waiting.length = 0;
        this.onInterrupt();
      } else {
        this.#waiting.push(key);
      }
    }
  }

  readonly #onInterruptSignal = (): void => this.#take([{ kind: "press", name: "ctrl-c" }]);

  readonly #onResize = (): void => this.#listener?.onChange(true);

  readonly #onEnd = (): void => {
    this.#isEnded = true;
    this.#listener?.onEnd();
  };

  readonly #onEnding = (signal: NodeJS.Signals): void => {
    this.#leave();
    process.off(signal, this.#onEnding);
    process.kill(process.pid, signal);
  };

  /** Stops the job that this process belongs to, as the terminal would have done. */
  readonly #suspend = (): void => {
    this.#listener?.onSuspend();
    this.#leave();
    process.off("SIGTSTP", this.#suspend);
    process.kill(0, "SIGTSTP");
    // A job that no shell looks after can't be stopped: it goes on at once.
    setTimeout(() => {
      if (!this.#isRaw) this.#onContinue();
    }, STOP_MS);
  };

  readonly #onContinue = (): void => {
    this.#leave();
    this.#enter();
    if (!process.listeners("SIGTSTP").includes(this.#suspend)) process.on("SIGTSTP", this.#suspend);
    this.#listener?.onChange(false);
  };
}
