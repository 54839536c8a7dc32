/** Texts that make tokenizers stumble, drawn from a fixed sequence: of every script, with all kinds of spaces, controls and near-misses. */

/** Numbers from 0 to below 1, always the same for a seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state ^ (state >>> 13)) >>> 0) / 2 ** 32;
  };
}

const SENTENCES = [
  "The quick brown fox jumps over the lazy dog, doesn't it? I'LL say: it's 12,345.67% done!",
  "Der Übergang über die Straße kostet 3,50 €; „schön“, sagte Jörg.",
  "L'été dernier, où était-il ? À l'hôtel, peut-être… « Ça va », dit-elle.",
  "¿Dónde está la niña? ¡Mañana cumplirá 18 años!",
  "Все счастливые семьи похожи друг на друга; каждая несчастна по-своему.",
  "Η γλώσσα είναι το σπίτι του ΌΝΤΟΣ — ὦ ἄνδρες Ἀθηναῖοι.",
  "日本語の文章には空白がありません。カタカナと漢字が混ざります。",
  "我们的模型只有三种权重：负一、零和一。今天是2024年5月17日。",
  "한국어 문장은 띄어쓰기를 합니다. 그렇지요?",
  "اللغة العربية تُكتب من اليمين إلى اليسار، ١٢٣٤٥.",
  "עברית נכתבת מימין לשמאל, עם נִקּוּד.",
  "हिन्दी में मात्राएँ होती हैं। क्या आप जानते हैं?",
  "ภาษาไทยไม่มีช่องว่างระหว่างคำ",
  "Tiếng Việt có nhiều dấu: ắ ằ ẳ ẵ ặ.",
  "İstanbul'da ığdır ılık; ŞĞÜÖÇ.",
  "for (let i = 0; i < n; i++) {\n\tsum += a[i] * b[i];  // ½ of it\n}\n",
  "def f(x):\n    return x ** 2 if x else None\n\n\n    # done\r\n",
  '{"name": "value", "list": [1, 2.5e-10, null, true], "nested": {"a\\u00e9": "\\n"}}',
  "<html>\n  <body class='x'>&nbsp;&amp;</body>\n</html>",
  "SELECT * FROM t WHERE a >= 10 AND b != 'it''s';",
  "https://example.org/path?q=%20a&b=c#frag, me@example.org",
  "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β = ¬(¬α ∨ β); 2H₂ + O₂ ⇌ 2H₂O, x² + y³",
  "🚀👩‍👩‍👧👍🏽🇩🇪❤️‍🔥 emoji ☺️ and ©®™",
  "0xDEADBEEF 1_000_000 3.14159265358979 1e-9 ½ ⅷ 五 ٣ ௧",
  "WORDS IN CAPITALS and CamelCaseNames and snake_case_names and kebab-case-names",
];

const PIECES = [
  ..." |  |   |        |\t|\t\t|\n|\n\n|\n\n\n|\r\n|\r| \n|\n |\u00a0|\u3000|\u2003|\u2028|\u0085|\u200b|\ufeff".split(
    "|",
  ),
  ..."\0|\u0001|\u001f|\u007f|\u0080|\u009f|\u00ad|\u061c|\u200d|\u200e|\u202e|\ufffd|\ufffe|\uffff|\ue000|\uf8ff".split(
    "|",
  ),
  ..."\ud83d|\ude80|\u{10ffff}|\u{1d54f}|\u{20000}|\u{e0041}|\u{1f1e9}|\u{fe0f}|ﬁ|Ⅷ|①|ｆｕｌｌ|ﷺ|ǆ|ẞ|ß|ŉ|İ|ı|ſ".split(
    "|",
  ),
  ..."é|e\u0301|ê\u0323|\u0301|\u0345|Å|Å|Å|각|각|ạ̈|ạ̈|क्षि|་|゙か|が|ｶﾞ".split("|"),
  ..."'s|'S|'LL|'ve|'re|'d|'T|’s|n't|''|'|\"|`|-|--|---|—|…|...|.|,|;|:|!|?|!!!|?!|(|)|[|]|{|}|<|>|/|\\|\\n".split("|"),
  ..."1|12|123|1234|12345|1234567890|0|00|٣|४५|½|²|3.5|-7|+1|1,000|1e5|0x1F|#|@|$|€|%|&|*|=|==|+|~|^|_|__".split("|"),
  ..."<|eot_id|>,<|eot_id|,|eot_id|>,<s>,</s>,< s>,<unk>,<pad>,<bos>,<0x0A>,<0x,▁,▁▁,▁a,a▁,Ġ,Ċ,Ġthe".split(","),
  ..."<|im_start|>,<|im_end|>,<|im_end,<think>,</think>,<tool_call>,<start_of_turn>,<end_of_turn>,<|begin_of_text|>".split(
    ",",
  ),
  ..."a|b|x|the| the| The|hello| Hello|world|ing|tion|ABC|aB|Xyz|word|äöü|ñ|ça|Ж|ж|α|Ω|あ|ア|漢|字|한|글|ا|ש|ก|क".split(
    "|",
  ),
];

/** Characters of many blocks, all older than the Unicode of any library: first and last. */
const RANGES = (
  "20-7e a0-24f 250-36f 370-377 384-52f 531-556 591-5c7 5d0-5ea 600-6ff 780-7b1 900-97f 985-9cd a85-acd e01-e3a e40-e4e " +
  "f40-f47 10a0-10c5 1100-11f9 1200-1248 13a0-13f4 1780-17d3 1e00-1eff 1f00-1fff 2000-206f 2070-208e 20a0-20b5 20d0-20dc " +
  "2100-214b 2190-23e7 2460-26b1 2701-27be 2e80-2fd5 3000-303f 3041-30ff 3105-312c 4e00-9fa5 a000-a48c ac00-d7a3 e000-f8ff " +
  "f900-fa2d fb00-fb06 fb50-fbb1 fe20-fe2f ff01-ff5e 10300-1031e 10400-1044f 1d400-1d454 1f300-1f320 1f400-1f43e " +
  "1f600-1f640 20000-2a6d6 e0100-e01ef"
)
  .split(" ")
  .map((range) => range.split("-").map((digits) => Number.parseInt(digits, 16)) as [number, number]);

/**
 * Draws texts.
 *
 * @param tokens of a vocabulary, to be put together in new ways.
 */
export function oddTexts(count: number, seed: number, tokens: readonly string[] = []): string[] {
  const random = randomNumbers(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <Element>(list: readonly Element[]) => list[below(list.length)] as Element;
  const many = (most: number, make: () => string) => Array.from({ length: 1 + below(most) }, make).join("");
  const character = ([first, last]: [number, number]) => String.fromCodePoint(first + below(last - first + 1));
  const cut = (text: string) => {
    const start = below(text.length);
    return text.slice(start, start + 1 + below(text.length - start));
  };
  const kinds: (() => string)[] = [
    () => pick(SENTENCES),
    () => cut(pick(SENTENCES)),
    () => many(3, () => cut(pick(SENTENCES)) + pick(PIECES)),
    () => many(12, () => pick(PIECES)),
    () => many(30, () => pick(PIECES)),
    () => many(20, () => pick([" ", "\n", "\t", "\r\n", "  ", "a", "1", ".", "\u00a0"])),
    () => pick(PIECES).repeat(1 + below(40)),
    () => {
      const range = pick(RANGES);
      return many(16, () => character(range));
    },
    () => many(16, () => character(pick(RANGES))),
    () => many(10, () => (tokens.length === 0 ? pick(PIECES) : pick(tokens))),
  ];
  return Array.from({ length: count }, () => pick(kinds)().slice(0, 600));
}
