/** What this program is called in answers and on the command line. */

import packageJson from "../package.json" with { type: "json" };

/** What it does, in a line. */
export const summary = "serves 1.58-bit language models from a CPU";

/** This program's version. */
export const version: string = packageJson.version;
