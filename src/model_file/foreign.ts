/**
 * Recognises files that people hand over by mistake, so that the message can say what the file is instead of what its first
 * bytes would mean in another format.
 */

/**
 * Says what a file is that was taken for another kind.
 *
 * @param head the first bytes of it, 64 are enough
 * @returns a noun phrase with what to do, or null for a file that is nothing known
 */
export function recogniseForeignFile(head: Uint8Array): string | null {
  const text = new TextDecoder("latin1").decode(head.subarray(0, 64));
  if (head.length === 0) return "an empty file";
  if (text.startsWith("version https://git-lfs"))
    return "a Git LFS pointer, not the file itself: run `git lfs pull` there";
  if (text.startsWith("GGUF")) return "a GGUF file, which is a model by itself, not a part of a directory";
  if (text.startsWith("SGLBITNT")) return "an SGLBITNT file, which is a model by itself, not a part of a directory";
  if (text.startsWith("PK\u0003\u0004") || text.startsWith("\u0080\u0002")) {
    return "a PyTorch or zip file, which is not supported: use a checkpoint in safetensors";
  }
  if (/^\s*<(!doctype|html)/i.test(text)) return "a web page: the download went wrong";
  if (/^\s*[{[][\s\x20-\x7e]{7}/.test(text)) return "a JSON text, not a model";
  if (text.startsWith("#!") || text.startsWith("\u007fELF")) return "a program";
  return null;
}
