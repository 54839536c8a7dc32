/**
 * A regular expression as a deterministic automaton over characters, wherever its anchors and word boundaries are and whatever it looks
 * ahead at.
 *
 * A state is a formula: alternatives, each of which reads on in one expression under conditions on the rest of the text. A condition is a
 * formula itself, asked for or forbidden: that is what looking ahead means. Equal formulas are one state.
 */

import { ALL, type CodePoints, difference, intersection, type Range, union } from "./code_points.ts";
import { NOWHERE, smallest, type TextAutomaton } from "./deterministic_automaton.ts";
import { type Expression, WORD } from "./regular_expression.ts";
import type { WorkBudget } from "./work_budget.ts";

/** A place in an expression, with all that stands behind it. */
type Place =
  | { kind: "read"; set: CodePoints; next: number }
  | { kind: "choice"; options: number[] }
  | { kind: "ahead"; part: number; isNegative: boolean; next: number }
  | { kind: "start"; next: number }
  | { kind: "end"; next: number }
  /** `word` is a place that reads a character of a word. */
  | { kind: "boundary"; word: number; isNegative: boolean; next: number }
  | { kind: "anything" };

/** What stands before a place: nothing, a character of words, another one. */
type Before = 0 | 1 | 2;
const BEGINNING: Before = 0;
const AFTER_WORD: Before = 1;
const AFTER_OTHER: Before = 2;

/** Places of an alternative that reads nothing of its own: the text ends here; anything may follow. */
const AT_END = -1;
const ANYTHING = -2;

/** One way on: a place that reads, and the conditions on the rest: a formula's number times two, and one more where it is forbidden. */
interface Alternative {
  place: number;
  conditions: readonly number[];
}

/** The automaton of all texts in which an expression is found. Its ^ and $ are the ends of the text. @throws GrammarTooLarge */
export function textAutomaton(expression: Expression, budget: WorkBudget): TextAutomaton {
  return smallest(new Determiner(budget).automaton(expression), budget);
}

class Determiner {
  readonly #budget: WorkBudget;
  readonly #places: Place[] = [{ kind: "anything" }];
  /** Formulas and their numbers, by what they say. */
  readonly #formulas: (readonly Alternative[])[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #never: number;
  readonly #always: number;
  /** Ways on from a place, and what formulas become behind a class of characters. */
  readonly #waysFrom = new Map<number, readonly Alternative[]>();
  readonly #steps = new Map<number, number>();
  #classes: readonly CodePoints[] = [];
  /** For each class whether it is of words, and for each set of the places which classes are in it. */
  #isWord: boolean[] = [];
  #members = new Map<CodePoints, boolean[]>();

  constructor(budget: WorkBudget) {
    this.#budget = budget;
    this.#never = this.#formula([]);
    this.#always = this.#formula([{ place: ANYTHING, conditions: [] }]);
  }

  automaton(expression: Expression): TextAutomaton {
    const whole = this.#found(this.#placeOf(expression, 0));
    this.#divide();
    const first = this.#formula(this.#ways(whole, BEGINNING));
    const states = new Map<number, number>([[first, 0]]);
    const next: number[] = [];
    for (const formula of states.keys()) {
      for (let index = 0; index < this.#classes.length; index++) {
        const target = this.#step(formula, index);
        next.push(target === this.#never ? NOWHERE : states.getOrInsertComputed(target, () => states.size));
      }
    }
    return {
      classes: this.#classes,
      next: Int32Array.from(next),
      isFinal: Array.from(states.keys(), (formula) => this.#mayEnd(formula)),
    };
  }

  // ---- Places ----

  /** The place from which another one comes sooner or later. */
  #found(place: number): number {
    const isAnchored = [AFTER_WORD, AFTER_OTHER].every((before) => this.#ways(place, before).length === 0);
    if (isAnchored) return place;
    const search = this.#place({ kind: "choice", options: [place] });
    const skipped = this.#place({ kind: "read", set: ALL, next: search });
    (this.#places[search] as { options: number[] }).options.push(skipped);
    return search;
  }

  #place(place: Place): number {
    this.#budget.spend(1);
    return this.#places.push(place) - 1;
  }

  /** The place where an expression begins, with another one behind it. */
  #placeOf(expression: Expression, next: number): number {
    switch (expression.kind) {
      case "one":
        return this.#place({ kind: "read", set: expression.set, next });
      case "sequence":
        return expression.parts.reduceRight((behind, part) => this.#placeOf(part, behind), next);
      case "choice":
        return this.#place({
          kind: "choice",
          options: expression.options.map((option) => this.#placeOf(option, next)),
        });
      case "repeat":
        return this.#repeated(expression.part, expression.least, expression.most, next);
      case "ahead":
        return this.#place({
          kind: "ahead",
          part: this.#placeOf(expression.part, 0),
          isNegative: expression.isNegative,
          next,
        });
      case "boundary":
        return this.#place({ ...expression, word: this.#place({ kind: "read", set: WORD, next: 0 }), next });
      default:
        return this.#place({ ...expression, next });
    }
  }

  #repeated(part: Expression, least: number, most: number, next: number): number {
    let place = next;
    if (most === Number.POSITIVE_INFINITY) {
      place = this.#place({ kind: "choice", options: [next] });
      (this.#places[place] as { options: number[] }).options.push(this.#placeOf(part, place));
    } else {
      for (let count = least; count < most; count++) {
        place = this.#place({ kind: "choice", options: [next, this.#placeOf(part, place)] });
      }
    }
    for (let count = 0; count < least; count++) place = this.#placeOf(part, place);
    return place;
  }

  /** Divides all characters into the classes that the places tell apart. */
  #divide(): void {
    const sets = new Map<string, CodePoints[]>();
    const add = (set: CodePoints) => {
      const key = set.map(({ low, high }) => `${low}-${high}`).join();
      sets.getOrInsertComputed(key, () => []).push(set);
    };
    for (const place of this.#places) if (place.kind === "read") add(place.set);
    const distinct = Array.from(sets.values(), ([set]) => set as CodePoints);
    const bounds = new Set<number>(ALL.map(({ low }) => low));
    for (const set of distinct) for (const { low, high } of set) bounds.add(low).add(high + 1);
    const starts = [...bounds].sort((a, b) => a - b);
    this.#budget.spend(starts.length * distinct.length);
    const positions = distinct.map(() => 0);
    const classes = new Map<string, Range[]>();
    for (const [i, low] of starts.entries()) {
      const high = (starts[i + 1] ?? 0x110000) - 1;
      const isIn = distinct.map((set, k) => {
        while ((set[positions[k] as number]?.high ?? low) < low) (positions[k] as number)++;
        return (set[positions[k] as number]?.low ?? low + 1) <= low;
      });
      const ranges = intersection(ALL, [{ low, high }]);
      if (ranges.length > 0) classes.getOrInsertComputed(isIn.map(Number).join(""), () => []).push(...ranges);
    }
    const keys = [...classes.keys()];
    this.#classes = Array.from(classes.values(), union);
    this.#isWord = this.#classes.map((set) => difference(set, WORD).length === 0);
    for (const [k, same] of [...sets.values()].entries()) {
      const isIn = keys.map((key) => key[k] === "1");
      for (const set of same) this.#members.set(set, isIn);
    }
  }

  // ---- Formulas ----

  /** The number of what any of these alternatives holds for. */
  #formula(alternatives: readonly Alternative[]): number {
    const distinct = new Map<string, Alternative>();
    const free = new Set(alternatives.filter(({ conditions }) => conditions.length === 0).map(({ place }) => place));
    for (const alternative of alternatives) {
      const { place, conditions } = alternative;
      if (free.has(ANYTHING) && !(place === ANYTHING && conditions.length === 0)) continue;
      if (conditions.length > 0 && free.has(place)) continue;
      distinct.set(`${place}:${conditions.join()}`, alternative);
    }
    const keys = [...distinct.keys()].sort();
    return this.#numbers.getOrInsertComputed(keys.join(" "), () => {
      this.#budget.spend(keys.length);
      return this.#formulas.push(keys.map((key) => distinct.get(key) as Alternative)) - 1;
    });
  }

  /** An alternative with more conditions; undefined when they can't be fulfilled. */
  #under(place: number, conditions: Iterable<number>): Alternative | undefined {
    const all = new Set<number>();
    for (const condition of conditions) {
      const formula = condition >> 1;
      const isNegative = (condition & 1) === 1;
      if (formula === (isNegative ? this.#always : this.#never)) return undefined;
      if (formula === (isNegative ? this.#never : this.#always)) continue;
      if (all.has(condition ^ 1)) return undefined;
      if (place === AT_END) {
        if (this.#mayEnd(formula) === isNegative) return undefined;
        continue;
      }
      all.add(condition);
    }
    return { place, conditions: [...all].sort((a, b) => a - b) };
  }

  /** The ways on from a place, up to what reads a character. */
  #ways(begin: number, before: Before): readonly Alternative[] {
    const key = begin * 3 + before;
    const known = this.#waysFrom.get(key);
    if (known !== undefined) return known;
    const ways: Alternative[] = [];
    const seen = new Set<string>();
    /** `isEnd`: only if the text ends here. */
    const pending: (Alternative & { isEnd: boolean })[] = [{ place: begin, conditions: [], isEnd: false }];
    for (let way = pending.pop(); way !== undefined; way = pending.pop()) {
      const { conditions, isEnd } = way;
      const seenKey = `${way.place}:${isEnd}:${conditions.join()}`;
      if (seen.has(seenKey)) continue;
      seen.add(seenKey);
      this.#budget.spend(1);
      const place = this.#places[way.place] as Place;
      const visit = (next: number, more: readonly number[] = [], isEndNow = isEnd) => {
        const under = this.#under(isEndNow ? AT_END : next, [...conditions, ...more]);
        if (under !== undefined) pending.push({ place: next, conditions: under.conditions, isEnd: isEndNow });
      };
      switch (place.kind) {
        case "read":
          if (!isEnd) ways.push({ place: way.place, conditions });
          break;
        case "anything":
          ways.push({ place: isEnd ? AT_END : ANYTHING, conditions });
          break;
        case "choice":
          for (const option of place.options) visit(option);
          break;
        case "start":
          if (before === BEGINNING) visit(place.next);
          break;
        case "end":
          visit(place.next, [], true);
          break;
        case "ahead": {
          const part = this.#formula(this.#ways(place.part, before));
          visit(place.next, [part * 2 + Number(place.isNegative)]);
          break;
        }
        case "boundary": {
          // A boundary lies here if a word goes on where none was, or ends.
          const isNegative = (before === AFTER_WORD) !== place.isNegative;
          const wordAhead = this.#formula(this.#ways(place.word, before));
          visit(place.next, [wordAhead * 2 + Number(isNegative)]);
        }
      }
    }
    this.#waysFrom.set(key, ways);
    return ways;
  }

  /** What a formula becomes behind a character of a class. */
  #step(formula: number, index: number): number {
    const key = formula * this.#classes.length + index;
    const known = this.#steps.get(key);
    if (known !== undefined) return known;
    const before = this.#isWord[index] === true ? AFTER_WORD : AFTER_OTHER;
    const alternatives: Alternative[] = [];
    for (const { place, conditions } of this.#formulas[formula] as readonly Alternative[]) {
      this.#budget.spend(1 + conditions.length);
      if (place === AT_END) continue;
      const read = place === ANYTHING ? undefined : (this.#places[place] as Place & { kind: "read" });
      if (read !== undefined && this.#members.get(read.set)?.[index] !== true) continue;
      const stepped = conditions.map((condition) => this.#step(condition >> 1, index) * 2 + (condition & 1));
      const ways = read === undefined ? [{ place: ANYTHING, conditions: [] }] : this.#ways(read.next, before);
      for (const way of ways) {
        const alternative = this.#under(way.place, [...stepped, ...way.conditions]);
        if (alternative !== undefined) alternatives.push(alternative);
      }
    }
    this.#budget.spend(alternatives.length);
    const stepped = this.#formula(alternatives);
    this.#steps.set(key, stepped);
    return stepped;
  }

  /** Whether the text may end here. */
  #mayEnd(formula: number): boolean {
    return (this.#formulas[formula] as readonly Alternative[]).some(
      ({ place, conditions }) =>
        place < 0 && conditions.every((condition) => this.#mayEnd(condition >> 1) !== ((condition & 1) === 1)),
    );
  }
}
