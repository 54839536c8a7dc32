/** Options in the environment: WRINKLEFREE_ and the name of the option. */

import { UsageError } from "../errors.ts";
import { type Option, variablesOf } from "./option.ts";
import { suggestion } from "./suggestion.ts";

const PREFIX = "WRINKLEFREE_";

/** Variables that are no options, and what they are for. */
export const otherVariables: Readonly<Record<string, string>> = {
  WRINKLEFREE_CPU:
    "the kernels to use, as in avx2 or scalar, instead of the best that the processor has; it is for measurements and tests",
  HF_TOKEN: "the token for models on the hub that need one; it is sent to the hub alone",
  HF_ENDPOINT: "another hub's address",
  HTTPS_PROXY: "the proxy through which the hub is reached",
  NO_COLOR: "set to anything, it keeps colours out of the terminal",
  BUN_TMPDIR: "where the executable unpacks its library at each start; programs must be allowed to run there",
};

/** What Kubernetes tells about a service that is called wrinklefree; none of it is meant for this program. */
const KUBERNETES = /^WRINKLEFREE_(SERVICE_(HOST|PORT(_.*)?)|PORT_\d+_(TCP|UDP|SCTP)(_.*)?)$/;

/** The variable that holds an option, with its text; one that is empty is none. */
export function findVariable(
  name: string,
  option: Option,
  environment: NodeJS.ProcessEnv,
): { variable: string; text: string } | undefined {
  for (const variable of variablesOf(name, option)) {
    const text = environment[variable];
    if (text && !isKubernetes(variable, text)) return { variable, text };
  }
  return undefined;
}

/** The texts of a list in a variable, which stand between white space. */
export function splitList(text: string): string[] {
  return text.split(/\s+/).filter((part) => part !== "");
}

/** Reads a switch in a variable. @throws UsageError. */
export function readSwitch(text: string, label: string): boolean {
  if (/^(1|true|yes|on)$/i.test(text)) return true;
  if (/^(0|false|no|off)$/i.test(text)) return false;
  throw new UsageError(`${label} takes true or false, not '${text}'`);
}

/**
 * What is wrong with variables that look like ours and are not known: a line for each.
 *
 * @param known the variables of all options.
 */
export function unknownVariables(known: ReadonlySet<string>, environment: NodeJS.ProcessEnv): string[] {
  const names = [...known, ...Object.keys(otherVariables).filter((name) => name.startsWith(PREFIX))];
  return ourVariables(environment)
    .filter((variable) => !names.includes(variable))
    .map((variable) => `the environment's ${variable} is no setting${suggestion(variable, names)}`);
}

/** The variables in the environment that look like ours. */
export function ourVariables(environment: NodeJS.ProcessEnv): string[] {
  return Object.entries(environment)
    .filter(([variable, text]) => variable.startsWith(PREFIX) && !isKubernetes(variable, text ?? ""))
    .map(([variable]) => variable)
    .sort();
}

function isKubernetes(variable: string, text: string): boolean {
  return KUBERNETES.test(variable) || (variable === `${PREFIX}PORT` && text.includes("://"));
}
