/** `wrinklefree convert`: makes a packed file from a model in another format. */

import { statSync } from "node:fs";
import type { SourceOptions } from "../../convert/checkpoint.ts";
import { convertCheckpoint } from "../../convert/convert.ts";
import { type ConversionPlan, planConversion } from "../../convert/dry_run.ts";
import { refuseExisting } from "../../convert/output_file.ts";
import { preTokenizerNames } from "../../convert/pre_tokenizers.ts";
import { verifyConversion } from "../../convert/verify.ts";
import { UsageError } from "../errors.ts";
import { printable } from "../model_file/config_fields.ts";
import { oneOf } from "../options/kinds.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes, notice, results } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import { formatTable } from "../terminal/table.ts";
import { hasTokenizer } from "../text/model_text.ts";
import { declareCommand } from "./command.ts";

export const command = declareCommand({
  name: "convert",
  summary: "make a packed file (.wf) from a GGUF file or a Hugging Face checkpoint",
  synopsis: ["convert SOURCE OUTPUT.wf [--pre NAME] [--verify] [--force]", "convert SOURCE [OUTPUT.wf] --dry-run"],
  description: [
    "Makes one packed file from a model in another format. SOURCE is a Hugging Face checkpoint, a directory with config.json, " +
      "safetensors files and the tokenizer; a GGUF file; or a file of the original system (SGLBITNT) with the tokenizer's files " +
      "beside it. The weights of a checkpoint may be master weights (bf16, f16, f32), which are quantised, or packed already " +
      "(uint8), or ternary values in floating point. The packed file is a whole model: serve, chat and inspect take it as it is. " +
      "One of a SOURCE without a tokenizer can't be served.",
  ],
  options: {
    pre: {
      group: "Conversion",
      help: "how texts are cut for a byte-level vocabulary, for a GGUF file that has it wrong in tokenizer.ggml.pre",
      place: "line",
      placeholder: "NAME",
      kind: oneOf(preTokenizerNames),
    },
    verify: {
      group: "Conversion",
      help: "read the packed file back afterwards and compare every code and scale with the source",
      place: "line",
      isSwitch: true,
    },
    "dry-run": {
      group: "Conversion",
      help: "say what SOURCE is, how large its packed file will be and what memory serving it takes; nothing is written",
      place: "line",
      isSwitch: true,
    },
    force: { group: "Conversion", help: "replace OUTPUT.wf if it exists", place: "line", isSwitch: true },
  },
  wordsMax: 2,
  words: ["file"],
  async run({ values, words }) {
    const [source, output] = words;
    const sourceOptions = values.pre === undefined ? {} : { pre: values.pre };
    if (output?.endsWith(".wf") === false) throw new UsageError(`the output '${output}' must end in .wf`);
    if (values["dry-run"]) {
      if (source === undefined) throw new UsageError("convert --dry-run takes a SOURCE");
      if (output !== undefined && !values.force) refuseExisting(output);
      results.write(describePlan(planConversion(source, sourceOptions), source));
      return 0;
    }
    if (source === undefined || output === undefined) throw new UsageError("convert takes a SOURCE and an OUTPUT.wf");
    const started = performance.now();
    const progress = showProgress("converting", notes);
    try {
      await interruptible((signal) =>
        convertCheckpoint(source, output, {
          ...sourceOptions,
          replace: values.force,
          signal,
          onProgress: progress.update,
          onNotice: (text) => notice(source, text),
        }),
      );
    } finally {
      progress.finish();
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    results.write(`${output}: ${formatBytes(statSync(output).size)} in ${seconds} s\n`);
    if (values.verify) await verify(source, output, sourceOptions);
    return 0;
  },
});

async function verify(source: string, output: string, options: SourceOptions): Promise<void> {
  const progress = showProgress("comparing", notes);
  const { codes, scales, values } = await interruptible((signal) =>
    verifyConversion(source, output, { ...options, signal, onProgress: progress.update }),
  ).finally(progress.finish);
  results.write(`verified: ${codes} codes, ${scales} scales and ${values} other values are those of the source\n`);
}

function describePlan(plan: ConversionPlan, source: string): string {
  for (const text of plan.notices) notice(source, text);
  const { packed, sketchBytes, copyBytes } = plan;
  const { config, bytes: fileBytes } = packed;
  const context = plan.kvTokenBytes * config.context;
  const lines: [string, string][] = [
    ["source", plan.format],
    ["architecture", printable(config.architecture)],
    ["packed file", `at most ${formatBytes(fileBytes)}`],
    ["head's sketch", `${formatBytes(sketchBytes)}`],
    [
      "down projections",
      copyBytes > 0 ? `${formatBytes(copyBytes)} by columns, if there is room for it` : "no second copy",
    ],
    ["keys and values", `${formatBytes(plan.kvTokenBytes)} a token, ${formatBytes(context)} for one full context`],
    [
      hasTokenizer(packed) ? "to serve one request" : "to compute one request",
      `${formatBytes(fileBytes + sketchBytes + copyBytes + context)} with a full context`,
    ],
  ];
  return `${formatTable(lines)}\n`;
}
