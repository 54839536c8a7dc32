/** What every answer and every chunk of one begins with. */

import { cpuTier } from "../../engine/library.ts";
import { version } from "../../version.ts";
import { newId } from "../ids.ts";

/** @param prefix of the id: chatcmpl, cmpl. */
export function answerHeader(prefix: string, object: string, model: string) {
  return {
    id: `${prefix}-${newId()}`,
    object,
    created: Math.floor(Date.now() / 1000),
    model,
    system_fingerprint: systemFingerprint(),
  };
}

/** Changes when answers to the same request may change: with the version and with the kernels in use. */
export function systemFingerprint(): string {
  return `wrinklefree-${version}-${cpuTier()}`;
}
