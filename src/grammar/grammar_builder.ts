/**
 * Puts grammars together and writes them in the form of csrc/grammar/grammar.h: rules over bytes that read, branch and call each other.
 *
 * What a grammar is made of are parts: functions that continue a path from one node and return the node behind it. Whatever can
 * never come to an end is cut out when the grammar is finished, so that an answer can't run into it.
 */

/** A place in a rule. */
export type Node = number;

/** Reads something, from a node to the one that it returns. May be used any number of times. */
export type Part = (from: Node) => Node;

/** A rule's number; rule 0 is the whole answer. */
export type Rule = number;

/** The grammar is larger than anybody needs. */
export class GrammarTooLarge extends Error {
  override name = "GrammarTooLarge";
}

/** A rule would have to begin with itself. */
export class EndlessGrammar extends Error {
  override name = "EndlessGrammar";
}

const MAGIC = 0x31474657;
const FINAL = 0x80000000;
const NO_END = 0xffffffff;
const BYTES = 0;
const EMPTY = 1;
const CALL = 2;

/** Larger grammars take more than some tenths of a second to make. */
const EDGES_MAX = 200_000;

interface Edge {
  kind: number;
  from: Node;
  to: Node;
  /** BYTES: the lowest and the highest. */
  low: number;
  high: number;
  /** CALL: how often. */
  rule: Rule;
  least: number;
  most: number;
}

/** Why nothing can be written in a place. */
export interface Impossibility {
  /** Where in the schema: #/properties/name. */
  path: string;
  message: string;
}

/** One grammar in the making. */
export class GrammarBuilder {
  /** What `nothing` was called for. */
  readonly impossible: Impossibility[] = [];
  #nodes = 0;
  readonly #edges: Edge[] = [];
  readonly #final = new Set<Node>();
  /** First nodes of the rules. */
  readonly #rules: Node[] = [this.node()];

  /** A new node. */
  node(): Node {
    return this.#nodes++;
  }

  /** Reads one byte of a range. */
  bytes(from: Node, low: number, high: number, to: Node): void {
    this.#add({ kind: BYTES, from, to, low, high, rule: 0, least: 0, most: 0 });
  }

  /** Reads nothing. */
  empty(from: Node, to: Node): void {
    this.#add({ kind: EMPTY, from, to, low: 0, high: 0, rule: 0, least: 0, most: 0 });
  }

  /** A rule to be defined later. */
  declare(): Rule {
    return this.#rules.push(this.node()) - 1;
  }

  /** Says what a rule reads. */
  define(rule: Rule, part: Part): void {
    this.#final.add(part(this.#rules[rule] as Node));
  }

  /** A rule that reads a part. */
  rule(part: Part): Rule {
    const rule = this.declare();
    this.define(rule, part);
    return rule;
  }

  /** What a rule reads, `least` to `most` times. */
  call(rule: Rule, least = 1, most = 1): Part {
    return (from) => {
      const to = this.node();
      if (most === 0) this.empty(from, to);
      else {
        const bounded = most === Number.POSITIVE_INFINITY ? NO_END : most;
        this.#add({ kind: CALL, from, to, low: 0, high: 0, rule, least, most: bounded });
      }
      return to;
    };
  }

  /** A part, `least` to `most` times; `most` may be infinite. */
  repeat(part: Part, least: number, most: number): Part {
    let rule: Rule | undefined;
    return (from) => {
      rule ??= this.rule(part);
      return this.call(rule, least, most)(from);
    };
  }

  sequence(...parts: Part[]): Part {
    return (from) => parts.reduce((node, part) => part(node), from);
  }

  /** One of the parts; none at all when there are none. */
  choice(...parts: Part[]): Part {
    return (from) => {
      const to = this.node();
      for (const part of parts) {
        const begin = this.node();
        this.empty(from, begin);
        this.empty(part(begin), to);
      }
      return to;
    };
  }

  /** What can't be written. @param why, where somebody said what can't be. */
  nothing(why: Impossibility): Part {
    this.impossible.push(why);
    return () => this.node();
  }

  optional(part: Part): Part {
    return this.choice(part, (from) => from);
  }

  /** Exactly this text. */
  text(text: string): Part {
    const bytes = Buffer.from(text);
    return (from) => {
      let at = from;
      for (const byte of bytes) {
        const next = this.node();
        this.bytes(at, byte, byte, next);
        at = next;
      }
      return at;
    };
  }

  /** Any bytes up to the first place where this text ends. */
  through(text: string): Part {
    const bytes = Buffer.from(text);
    return (from) => {
      // A node for each length of the text's beginning that the bytes so far end with.
      const nodes = Array.from({ length: bytes.length + 1 }, () => this.node());
      this.empty(from, nodes[0] as Node);
      for (let length = 0; length < bytes.length; length++) {
        const next = Array.from({ length: 256 }, (_, byte) => {
          const read = Buffer.from([...bytes.subarray(0, length), byte]);
          let kept = length + 1;
          while (!read.subarray(read.length - kept).equals(bytes.subarray(0, kept))) kept--;
          return kept;
        });
        for (let low = 0; low < 256; ) {
          let high = low;
          while (high < 255 && next[high + 1] === next[low]) high++;
          this.bytes(nodes[length] as Node, low, high, nodes[next[low] as number] as Node);
          low = high + 1;
        }
      }
      return nodes[bytes.length] as Node;
    };
  }

  /** One of these texts. What they begin with alike is read once. */
  texts(texts: readonly string[]): Part {
    const distinct = [...new Set(texts)].map((text) => Buffer.from(text));
    return (from) => {
      const to = this.node();
      /** Where a byte leads from a node, by both. */
      const known = new Map<number, Node>();
      for (const bytes of distinct) {
        let at = from;
        for (const byte of bytes) {
          const key = at * 256 + byte;
          let next = known.get(key);
          if (next === undefined) {
            next = this.node();
            known.set(key, next);
            this.bytes(at, byte, byte, next);
          }
          at = next;
        }
        this.empty(at, to);
      }
      return to;
    };
  }

  /**
   * The grammar's bytes.
   *
   * @returns undefined when there is no answer at all that it describes.
   * @throws EndlessGrammar when a rule begins with itself.
   */
  finish(): Uint8Array | undefined {
    const ends = this.#reachBackwards(() => true);
    if (!ends.has(this.#rules[0] as Node)) return undefined;
    const canEnd = (rule: Rule) => ends.has(this.#rules[rule] as Node);
    const kept: Edge[] = [];
    for (const edge of this.#edges) {
      if (!ends.has(edge.to)) continue;
      if (edge.kind !== CALL || canEnd(edge.rule)) kept.push(edge);
      else if (edge.least === 0) kept.push({ ...edge, kind: EMPTY });
    }
    const leaving: Edge[][] = Array.from({ length: this.#nodes }, () => []);
    for (const edge of kept) leaving[edge.from]?.push(edge);
    this.#checkBeginnings(leaving);
    return this.#write(leaving);
  }

  #add(edge: Edge): void {
    if (this.#edges.length >= EDGES_MAX) throw new GrammarTooLarge();
    this.#edges.push(edge);
  }

  /** The nodes from which a rule's end can be reached over edges that `counts` holds for and rules that can be got through themselves. */
  #reachBackwards(counts: (edge: Edge) => boolean): Set<Node> {
    const arriving: Edge[][] = Array.from({ length: this.#nodes }, () => []);
    for (const edge of this.#edges) if (counts(edge)) arriving[edge.to]?.push(edge);
    const rulesOf = new Map(this.#rules.map((node, rule) => [node, rule]));
    const waiting = new Map<Rule, Edge[]>();
    const reached = new Set<Node>(this.#final);
    const pending = [...this.#final];
    const reach = (node: Node) => {
      if (reached.has(node)) return;
      reached.add(node);
      pending.push(node);
    };
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      for (const edge of arriving[node] as Edge[]) {
        if (edge.kind !== CALL || edge.least === 0 || reached.has(this.#rules[edge.rule] as Node)) reach(edge.from);
        else if (!waiting.get(edge.rule)?.push(edge)) waiting.set(edge.rule, [edge]);
      }
      const rule = rulesOf.get(node);
      if (rule === undefined) continue;
      for (const edge of waiting.get(rule) ?? []) reach(edge.from);
      waiting.delete(rule);
    }
    return reached;
  }

  /** @throws EndlessGrammar when a rule calls itself before it has read anything. */
  #checkBeginnings(leaving: readonly (readonly Edge[])[]): void {
    const passable = this.#reachBackwards((edge) => edge.kind !== BYTES);
    const callsAtOnce = (rule: Rule): Rule[] => {
      const seen = new Set<Node>([this.#rules[rule] as Node]);
      const called = new Set<Rule>();
      for (const node of seen) {
        for (const edge of leaving[node] as readonly Edge[]) {
          if (edge.kind === BYTES) continue;
          if (edge.kind === CALL) called.add(edge.rule);
          const isPassed = edge.kind === EMPTY || edge.least === 0 || passable.has(this.#rules[edge.rule] as Node);
          if (isPassed) seen.add(edge.to);
        }
      }
      return [...called];
    };
    const finished = new Set<Rule>();
    const open = new Set<Rule>();
    for (let first = 0; first < this.#rules.length; first++) {
      if (finished.has(first)) continue;
      open.add(first);
      const path = [{ rule: first, next: callsAtOnce(first) }];
      for (let top = path.at(-1); top !== undefined; top = path.at(-1)) {
        const called = top.next.pop();
        if (called === undefined) {
          open.delete(top.rule);
          finished.add(top.rule);
          path.pop();
        } else if (open.has(called)) {
          throw new EndlessGrammar();
        } else if (!finished.has(called)) {
          open.add(called);
          path.push({ rule: called, next: callsAtOnce(called) });
        }
      }
    }
  }

  #write(leaving: readonly (readonly Edge[])[]): Uint8Array {
    // Rules and nodes that the answer can come to, in the order in which it does.
    const rules = new Map<Rule, number>([[0, 0]]);
    const nodes = new Map<Node, number>();
    const pending: Node[] = [];
    const visit = (node: Node) => {
      if (nodes.has(node)) return;
      nodes.set(node, nodes.size);
      pending.push(node);
    };
    let edgeCount = 0;
    for (const rule of rules.keys()) {
      visit(this.#rules[rule] as Node);
      for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
        for (const edge of leaving[node] as readonly Edge[]) {
          edgeCount++;
          visit(edge.to);
          if (edge.kind === CALL && !rules.has(edge.rule)) rules.set(edge.rule, rules.size);
        }
      }
    }
    const calls = new Map<string, number>();
    const callWords: number[] = [];
    const callOf = ({ rule, least, most }: Edge): number => {
      const key = `${rule} ${least} ${most}`;
      let call = calls.get(key);
      if (call === undefined) {
        call = calls.size;
        calls.set(key, call);
        callWords.push(rules.get(rule) as number, least, most);
      }
      return call;
    };
    const nodeWords: number[] = [];
    const edgeWords: number[] = [];
    for (const node of nodes.keys()) {
      nodeWords.push(edgeWords.length / 2 + (this.#final.has(node) ? FINAL : 0));
      for (const edge of leaving[node] as readonly Edge[]) {
        const argument = edge.kind === BYTES ? edge.low + edge.high * 256 : edge.kind === CALL ? callOf(edge) : 0;
        edgeWords.push(edge.kind + argument * 256, nodes.get(edge.to) as number);
      }
    }
    const words = [MAGIC, rules.size, nodes.size, edgeCount, calls.size];
    const all = new Uint32Array(words.length + rules.size + nodeWords.length + edgeWords.length + callWords.length);
    all.set(words);
    all.set(
      Array.from(rules.keys(), (rule) => nodes.get(this.#rules[rule] as Node) as number),
      words.length,
    );
    all.set(nodeWords, words.length + rules.size);
    all.set(edgeWords, words.length + rules.size + nodeWords.length);
    all.set(callWords, words.length + rules.size + nodeWords.length + edgeWords.length);
    return new Uint8Array(all.buffer);
  }
}
