/** Bounds on one key; undefined: none. */
export interface KeyLimits {
  /** Requests that compute something, a minute. */
  readonly requests?: number | undefined;
  /** Tokens of prompts and answers, a minute. */
  readonly tokens?: number | undefined;
  /** Requests under way at once. */
  readonly running?: number | undefined;
}

/** An API key as everybody knows it but the check of access. The key itself is kept nowhere. */
export interface ApiKey {
  /** Its SHA-256 in hexadecimal. What belongs to a key is kept under this, so no other order of the keys can mix it up. */
  readonly hash: string;
  /** What the log calls it: its name, or the beginning of its hash. */
  readonly label: string;
  readonly limits: KeyLimits;
}
