/**
 * Makes the chat page of client/ one file that the server reads: the page, and beside it scripts, styles and the icon under names
 * that hold a hash of their contents, each compressed as browsers take it.
 */

import { gzipSync, constants as zlib, zstdCompressSync } from "node:zlib";

/** A file of the page, as the server reads it; its bytes in base64. */
interface BundledFile {
  type: string;
  zstd: string;
  gzip: string;
}

/** The strongest levels: compressing is done once. */
const ZSTD_LEVEL = 22;
const GZIP_LEVEL = 9;

/**
 * Bundles the page.
 *
 * @param source the directory with index.html.
 * @returns JSON: an object with a file for each name; the page itself is "index.html".
 */
export async function bundlePage(source: string): Promise<string> {
  const { outputs } = await Bun.build({
    entrypoints: [`${source}/index.html`],
    target: "browser",
    minify: true,
    splitting: true,
    naming: { entry: "[name].[ext]", chunk: "[name]-[hash].[ext]", asset: "[name]-[hash].[ext]" },
    define: { "process.env.NODE_ENV": '"production"' },
  });
  const files: Record<string, BundledFile> = {};
  for (const output of outputs) {
    const name = output.path.replace(/^.*\//, "");
    const text = await output.text();
    // The page stands above its assets, which refer to each other as neighbours.
    const bytes = Buffer.from(name === "index.html" ? text.replaceAll('"./', '"assets/') : text);
    files[name] = {
      type: output.type.replace(/;charset=utf-8$/, "; charset=utf-8"),
      zstd: zstdCompressSync(bytes, { params: { [zlib.ZSTD_c_compressionLevel]: ZSTD_LEVEL } }).toString("base64"),
      gzip: gzipSync(bytes, { level: GZIP_LEVEL }).toString("base64"),
    };
  }
  return JSON.stringify(files);
}
