/** `wrinklefree convert`: makes a packed file from a model in another format. */

import { statSync } from "node:fs";
import { convertCheckpoint } from "../../convert/convert.ts";
import { preTokenizerNames } from "../../convert/pre_tokenizers.ts";
import { UsageError } from "../errors.ts";
import { formatBytes } from "../terminal/format_bytes.ts";
import { interruptible } from "../terminal/interrupt.ts";
import { notes, notice, results } from "../terminal/output.ts";
import { showProgress } from "../terminal/progress.ts";
import type { Command } from "./command.ts";
import { oneOf, parseOptions } from "./options.ts";

export const command: Command = {
  name: "convert",
  summary: "make a packed file (.wf) from a GGUF file or a Hugging Face checkpoint",
  usage: `usage: wrinklefree convert SOURCE OUTPUT.wf [--pre NAME] [--force]

Makes one packed file from a model in another format. SOURCE is a Hugging Face checkpoint, a directory with config.json,
safetensors files and the tokenizer; a GGUF file; or a file of the original system (SGLBITNT) with the tokenizer's files
beside it. The weights of a checkpoint may be master weights (bf16, f16, f32), which are quantised, or packed already
(uint8). The packed file is a whole model; serve, chat and inspect take it as it is.

  --pre NAME how texts are cut for a byte-level vocabulary, for a GGUF file that has it wrong in tokenizer.ggml.pre:
             ${preTokenizerNames.join(", ")}
  --force    replace OUTPUT.wf if it exists
  --help     show this text
`,
  async run(args) {
    const { values, positionals } = parseOptions(
      args,
      { pre: { type: "string" }, force: { type: "boolean", default: false } },
      2,
    );
    const [source, output] = positionals;
    if (source === undefined || output === undefined) throw new UsageError("convert takes a SOURCE and an OUTPUT.wf");
    const pre = values.pre === undefined ? undefined : oneOf(values.pre, "pre", preTokenizerNames);
    if (!output.endsWith(".wf")) throw new UsageError(`the output '${output}' must end in .wf`);
    const started = performance.now();
    const progress = showProgress("converting", notes);
    try {
      await interruptible((signal) =>
        convertCheckpoint(source, output, {
          ...(pre === undefined ? {} : { pre }),
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
    return 0;
  },
};
