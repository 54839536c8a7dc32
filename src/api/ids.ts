/** Ids that the server makes up. */

/** 32 random hexadecimal digits. */
export function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}
