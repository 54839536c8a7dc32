/** What every answer and every chunk of one begins with. */

import { systemFingerprint } from "./usage.ts";

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

/** 32 random hexadecimal digits. */
export function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
