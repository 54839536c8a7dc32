/** What a soak counts, and the faults that it finds. */

/** Kinds of faults. There should be none of any. */
export const FAULTS = [
  "lost answers",
  "wrong answers",
  "errors that are no JSON",
  "unexpected statuses",
  "faults of logs and traces",
  "faults of starts, ends and reloads",
  "faults at rest",
] as const;
export type Fault = (typeof FAULTS)[number];

/** Faults of a kind that are kept in words. */
const TOLD = 5;

export class Tally {
  /** Everything that was counted, by what it is called. */
  readonly counts = new Map<string, number>();
  readonly #faults = new Map<Fault, { count: number; told: string[] }>(
    FAULTS.map((kind) => [kind, { count: 0, told: [] }]),
  );

  count(what: string): void {
    this.counts.set(what, this.of(what) + 1);
  }

  of(what: string): number {
    return this.counts.get(what) ?? 0;
  }

  fault(kind: Fault, text: string): void {
    const of = this.#faults.get(kind) as { count: number; told: string[] };
    of.count++;
    if (of.told.length < TOLD) of.told.push(text.replaceAll("\n", " ").slice(0, 2000));
  }

  /** How many there are of each kind, and the first few in words. */
  get faults(): Record<Fault, { count: number; told: string[] }> {
    return Object.fromEntries(this.#faults) as Record<Fault, { count: number; told: string[] }>;
  }

  get faultCount(): number {
    return [...this.#faults.values()].reduce((sum, { count }) => sum + count, 0);
  }
}
