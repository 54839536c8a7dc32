import type { KeyLimits } from "./key_limits.ts";

/** An API key as everybody knows it but the check of access. The key itself is kept nowhere. */
export interface ApiKey {
  /** Its SHA-256 in hexadecimal. What belongs to a key is kept under this, so no other order of the keys can mix it up. */
  readonly hash: string;
  /** What the log calls it: its name, or the beginning of its hash. */
  readonly label: string;
  readonly limits: KeyLimits;
}
