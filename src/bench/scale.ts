/** The scales of a chart's axes: where a value lies, and which values are written beside the axis. */

/** An axis. */
export interface Scale {
  /** Where a value lies, from 0 to 1. */
  at(value: number): number;
  /** The values that stand beside the axis, ascending. */
  ticks: number[];
}

/** Steps between the ticks of an axis that begins at zero. */
const ROUND_STEPS = [1, 2, 2.5, 5, 10];

/** From zero to a round value that is at least `most`. */
export function fromZero(most: number): Scale {
  const power = 10 ** Math.floor(Math.log10(most / 4));
  const step = power * (ROUND_STEPS.find((round) => most / (round * power) <= 5) as number);
  const count = Math.ceil(most / step);
  return {
    at: (value) => value / (count * step),
    ticks: Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(6))),
  };
}

/** Just these values, evenly apart or by the factors between them. One alone lies in the middle. */
export function through(values: readonly number[], isLogarithmic: boolean): Scale {
  const ticks = [...new Set(values)].sort((a, b) => a - b);
  const place = isLogarithmic ? Math.log : Number;
  const [low, high] = [place(ticks[0] as number), place(ticks.at(-1) as number)];
  return { at: (value) => (high > low ? (place(value) - low) / (high - low) : 0.5), ticks };
}

/** By factors, from `low` to `high`, with 1, 2 and 5 of each power of ten, or the powers alone where there are many. */
export function byFactors(low: number, high: number): Scale {
  const [first, last] = [Math.log10(low), Math.log10(high)];
  const digits = last - first > 2.5 ? [1] : [1, 2, 5];
  const ticks: number[] = [];
  for (let power = Math.floor(first); power <= last; power++) {
    for (const digit of digits) ticks.push(Number(`${digit}e${power}`));
  }
  return {
    at: (value) => (Math.log10(value) - first) / (last - first),
    ticks: ticks.filter((tick) => tick >= low && tick <= high),
  };
}
