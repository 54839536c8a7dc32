/** Deterministic automata over characters: several at once, as few states as can be, and all of it as a grammar. */

import { type CodePoints, jsonCharacter, type Range, union } from "./code_points.ts";
import type { GrammarBuilder, Node, Part } from "./grammar_builder.ts";
import type { WorkBudget } from "./work_budget.ts";

/** Most ranges of characters that are read without a rule of their own. */
const RANGES_AT_ONCE = 4;

/** A deterministic automaton; state 0 is the beginning. */
export interface TextAutomaton {
  /** Sets of characters that no state tells apart. */
  classes: readonly CodePoints[];
  /** For each state and class the next state; NOWHERE when no text goes on like this. */
  next: Int32Array;
  isFinal: readonly boolean[];
}

/** Where no text goes on. */
export const NOWHERE = -1;

/** Whether a text is of an automaton. */
export function isTextOf({ classes, next, isFinal }: TextAutomaton, text: string): boolean {
  let state = isFinal.length === 0 ? NOWHERE : 0;
  for (const character of text) {
    const codePoint = character.codePointAt(0) as number;
    const index = classes.findIndex((set) => set.some(({ low, high }) => low <= codePoint && codePoint <= high));
    state = index < 0 || state === NOWHERE ? NOWHERE : (next[state * classes.length + index] as number);
  }
  return isFinal[state] === true;
}

/** The texts of two automata, or of the first alone. @throws GrammarTooLarge */
export function bothTexts(
  one: TextAutomaton,
  other: TextAutomaton,
  isOtherNegative: boolean,
  budget: WorkBudget,
): TextAutomaton {
  const classes = commonClasses(one.classes, other.classes);
  const width = classes.length;
  /** Where the other one has no text any more: the first goes on alone, if that is wanted. */
  const alone = other.isFinal.length;
  const stride = alone + 1;
  const begin = other.isFinal.length === 0 ? alone : 0;
  const pairs = new Map<number, number>(one.isFinal.length === 0 ? [] : [[begin, 0]]);
  const next: number[] = [];
  const isFinal: boolean[] = [];
  for (const pair of pairs.keys()) {
    budget.spend(1 + (width >> 2));
    const [state, otherState] = [Math.floor(pair / stride), pair % stride];
    isFinal.push(one.isFinal[state] === true && (other.isFinal[otherState] === true) !== isOtherNegative);
    for (const { first, second } of classes) {
      const to = one.next[state * one.classes.length + first] as number;
      const reached =
        otherState === alone ? NOWHERE : (other.next[otherState * other.classes.length + second] as number);
      if (to === NOWHERE || (reached === NOWHERE && !isOtherNegative)) next.push(NOWHERE);
      else {
        const target = to * stride + (reached === NOWHERE ? alone : reached);
        next.push(pairs.getOrInsertComputed(target, () => pairs.size));
      }
    }
  }
  return smallest({ classes: classes.map(({ set }) => set), next: Int32Array.from(next), isFinal }, budget);
}

/** The sets of characters that two automata together tell apart, with the class of each. */
function commonClasses(
  ones: readonly CodePoints[],
  others: readonly CodePoints[],
): { set: CodePoints; first: number; second: number }[] {
  const flat = (classes: readonly CodePoints[]) =>
    classes.flatMap((set, index) => set.map((range) => ({ ...range, index }))).sort((a, b) => a.low - b.low);
  const [left, right] = [flat(ones), flat(others)];
  const common = new Map<number, { ranges: Range[]; first: number; second: number }>();
  for (let i = 0, k = 0; i < left.length && k < right.length; ) {
    const [a, b] = [left[i] as (typeof left)[0], right[k] as (typeof right)[0]];
    const [low, high] = [Math.max(a.low, b.low), Math.min(a.high, b.high)];
    if (low <= high) {
      const key = a.index * others.length + b.index;
      common
        .getOrInsertComputed(key, () => ({ ranges: [], first: a.index, second: b.index }))
        .ranges.push({ low, high });
    }
    if (a.high <= b.high) i++;
    if (b.high <= a.high) k++;
  }
  return Array.from(common.values(), ({ ranges, first, second }) => ({ set: union(ranges), first, second }));
}

/** The same automaton with as few states as can be, and without those from which there is no end. */
export function smallest({ classes, next, isFinal }: TextAutomaton, budget: WorkBudget): TextAutomaton {
  const width = classes.length;
  const nowhere = isFinal.length;
  budget.spend((nowhere * width) >> 1);
  const target = (state: number, index: number) => {
    const to = state === nowhere ? nowhere : (next[state * width + index] as number);
    return to === NOWHERE ? nowhere : to;
  };
  const blocks = blocksOfEqual(nowhere + 1, width, target, (state) => isFinal[state] === true);
  const states = new Map<number, number>();
  const members: number[] = [];
  const numberOf = (state: number) =>
    states.getOrInsertComputed(blocks[state] as number, () => members.push(state) - 1);
  const dead = blocks[nowhere] as number;
  const smaller: number[] = [];
  if (blocks[0] !== dead) numberOf(0);
  for (const state of members) {
    for (let index = 0; index < width; index++) {
      const to = target(state, index);
      smaller.push(blocks[to] === dead ? NOWHERE : numberOf(to));
    }
  }
  return { classes, next: Int32Array.from(smaller), isFinal: members.map((state) => isFinal[state] === true) };
}

/** The block of each state: those are in one that no text tells apart (Hopcroft's algorithm). */
function blocksOfEqual(
  count: number,
  width: number,
  target: (state: number, index: number) => number,
  isFinal: (state: number) => boolean,
): Int32Array {
  // What leads to a state by a class: sources[starts[index * count + state] …].
  const starts = new Int32Array(width * count + 1);
  for (let index = 0; index < width; index++) {
    for (let state = 0; state < count; state++) (starts[index * count + target(state, index) + 1] as number)++;
  }
  for (let i = 1; i < starts.length; i++) (starts[i] as number) += starts[i - 1] as number;
  const filled = starts.slice();
  const sources = new Int32Array(width * count);
  for (let index = 0; index < width; index++) {
    for (let state = 0; state < count; state++) {
      const at = index * count + target(state, index);
      sources[(filled[at] as number)++] = state;
    }
  }
  // A block is a stretch of `states`; those that lead into a splitter stand at its front.
  const states = Int32Array.from({ length: count }, (_, state) => state).sort(
    (a, b) => Number(isFinal(a)) - Number(isFinal(b)),
  );
  const places = new Int32Array(count);
  for (const [place, state] of states.entries()) places[state] = place;
  const finals = states.findIndex(isFinal);
  const first = finals <= 0 ? [0] : [0, finals];
  const begins = [...first];
  const ends = first.length === 1 ? [count] : [finals, count];
  const marked = first.map(() => 0);
  const blocks = Int32Array.from({ length: count }, (_, state) => Number(first.length === 2 && isFinal(state)));
  const pending = begins.map((_, block) => block);
  const isPending = begins.map(() => true);
  for (let splitter = pending.pop(); splitter !== undefined; splitter = pending.pop()) {
    isPending[splitter] = false;
    const members = states.slice(begins[splitter], ends[splitter]);
    for (let index = 0; index < width; index++) {
      const touched: number[] = [];
      for (const member of members) {
        const at = index * count + member;
        for (let i = starts[at] as number; i < (starts[at + 1] as number); i++) {
          const state = sources[i] as number;
          const block = blocks[state] as number;
          const front = (begins[block] as number) + (marked[block] as number);
          const place = places[state] as number;
          if (place < front) continue;
          if (marked[block] === 0) touched.push(block);
          (marked[block] as number)++;
          const other = states[front] as number;
          states[front] = state;
          states[place] = other;
          places[state] = front;
          places[other] = place;
        }
      }
      for (const block of touched) {
        const begin = begins[block] as number;
        const end = ends[block] as number;
        const middle = begin + (marked[block] as number);
        marked[block] = 0;
        if (middle === end) continue;
        // The smaller part becomes a block of its own.
        const isFrontSmaller = middle - begin <= end - middle;
        const fresh = begins.push(isFrontSmaller ? begin : middle) - 1;
        ends.push(isFrontSmaller ? middle : end);
        marked.push(0);
        if (isFrontSmaller) begins[block] = middle;
        else ends[block] = middle;
        for (let place = begins[fresh] as number; place < (ends[fresh] as number); place++) {
          blocks[states[place] as number] = fresh;
        }
        pending.push(fresh);
        isPending.push(true);
      }
    }
  }
  return blocks;
}

/** The characters of a JSON string that an automaton goes on with, without the quotes around them. */
export function automatonText(builder: GrammarBuilder, automaton: TextAutomaton): Part {
  const { classes, next, isFinal } = automaton;
  /** What reads a set of characters: by a rule where it takes many edges. */
  const readers = new Map<string, Part>();
  const reader = (indices: readonly number[]): Part =>
    readers.getOrInsertComputed(indices.join(), () => {
      const set = union(indices.flatMap((index) => [...(classes[index] as CodePoints)]));
      const isSmall = set.length <= RANGES_AT_ONCE && (set.at(-1) as Range).high < 0x7f;
      const part = jsonCharacter(builder, set);
      return isSmall ? part : builder.call(builder.rule(part));
    });
  return (from) => {
    const to = builder.node();
    const nodes: Node[] = isFinal.map((_, state) => (state === 0 ? from : builder.node()));
    for (const [state, node] of nodes.entries()) {
      if (isFinal[state]) builder.empty(node, to);
      const targets = new Map<number, number[]>();
      for (let index = 0; index < classes.length; index++) {
        const target = next[state * classes.length + index] as number;
        if (target !== NOWHERE) targets.getOrInsertComputed(target, () => []).push(index);
      }
      for (const [target, indices] of targets) builder.empty(reader(indices)(node), nodes[target] as Node);
    }
    return to;
  };
}
