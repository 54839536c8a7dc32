/** Names of models on the hub: OWNER/NAME, or OWNER/NAME@REVISION. */

/** What such a name means. */
export interface HubName {
  /** OWNER/NAME. */
  repository: string;
  /** A branch, a tag or a commit. */
  revision: string;
}

/** The branch that is meant when a name has no revision. */
const DEFAULT_REVISION = "main";

const PART = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$/;

/** Reads a name; null when the text cannot be one. What is returned is safe in a path and in a URL. */
export function parseHubName(text: string): HubName | null {
  const [, owner, name, , revision] = /^([^/@]+)\/([^/@]+)(@(.+))?$/s.exec(text) ?? [];
  if (owner === undefined || name === undefined) return null;
  // The hub has no such names, and in its cache "--" stands for the slash.
  if (![owner, name].every((part) => PART.test(part) && !/--|\.\.|[.-]$/.test(part))) return null;
  if (revision !== undefined && !isRevision(revision)) return null;
  return { repository: `${owner}/${name}`, revision: revision ?? DEFAULT_REVISION };
}

/** The name as a person writes it. */
export function formatHubName({ repository, revision }: HubName): string {
  return revision === DEFAULT_REVISION ? repository : `${repository}@${revision}`;
}

/** Whether a text can name a branch, a tag or a commit, by git's rules for references. */
function isRevision(text: string): boolean {
  return isPlainPath(text) && !/ |\.\.|\.$|\.lock$/.test(text) && !/^\.|\/\.|\.lock\//.test(text);
}

/** Whether a text can be a path inside a directory, whatever system that is on. */
export function isPlainPath(text: string): boolean {
  return (
    text.length <= 500 &&
    text.split("/").every((part) => /^[\p{L}\p{N}_.+()=, -]{1,200}$/u.test(part) && !/^\.{1,2}$|^-/.test(part))
  );
}
