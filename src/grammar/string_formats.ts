/**
 * The formats of strings that answers are held to, as patterns. Each matches texts of its format only, by the RFC that defines it and by
 * those who check it (ajv-formats, pydantic, `new URL`), and as many of them as an answer may need.
 *
 * Any other format says what a text is for, and nothing about what is valid: JSON Schema calls that an annotation.
 */

/** A format's patterns. */
export interface StringFormat {
  /** Bounded in length, for a string of which nothing else is known. */
  alone: string;
  /** For a string that has to match something else as well: without counts that would multiply. */
  beside: string;
}

const YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])";
const LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)";
const MONTH_AND_DAY =
  "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))";
const DATE = `(?:${YEAR}-${MONTH_AND_DAY}|${LEAP_YEAR}-02-29)`;
const OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const TIME = `(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?${OFFSET}`;

// RFC 3339, appendix A: no unit is left out between two others.
const COUNT = "[0-9]{1,6}";
const MINUTES = `(?:${COUNT}M(?:${COUNT}S)?|${COUNT}S)`;
const HOURS = `T(?:${COUNT}H(?:${MINUTES})?|${MINUTES})`;
const DAYS = `${COUNT}D(?:${HOURS})?`;
const MONTHS = `${COUNT}M(?:${DAYS}|${HOURS})?`;
const DURATION = `P(?:${COUNT}W|${COUNT}Y(?:${MONTHS}|${DAYS}|${HOURS})?|${MONTHS}|${DAYS}|${HOURS})`;

const HEX = "[0-9a-fA-F]";

function uuid(version: string, variant: string): string {
  return `${HEX}{8}-${HEX}{4}-${version}${HEX}{3}-${variant}${HEX}{3}-${HEX}{12}`;
}

const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const IPV4 = `(?:${BYTE}\\.){3}${BYTE}`;

const GROUP = `${HEX}{1,4}`;
/** Eight groups, or up to seven with :: in the place of the others. */
const IPV6 = `(?:(?:${GROUP}:){7}${GROUP}|(?:${GROUP}:){7}:|${[0, 1, 2, 3, 4, 5, 6]
  .map((before) => `${before === 0 ? ":" : `(?:${GROUP}:){${before}}`}:(?:${GROUP}(?::${GROUP}){0,${6 - before}})?`)
  .join("|")})`;

const MAIL_ATOM = "[A-Za-z0-9_+-]{1,20}";
const MAIL_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?";
const EMAIL = `${MAIL_ATOM}(?:\\.${MAIL_ATOM}){0,2}@${MAIL_LABEL}(?:\\.${MAIL_LABEL}){0,2}\\.[a-zA-Z]{2,10}`;
const HOSTNAME = `${MAIL_LABEL}(?:\\.${MAIL_LABEL}){0,3}`;

/** `new URL` takes a name of digits at the end for an address, and two hyphens for Punycode. */
const WEB_LABEL = "[a-zA-Z0-9]{1,20}(?:-[a-zA-Z0-9]{1,20}){0,2}";
const WEB_HOST = `(?:(?:${WEB_LABEL}\\.){0,4}[a-zA-Z][a-zA-Z0-9]{0,11}|${IPV4})`;
const SEGMENT = "A-Za-z0-9._~!$&'()*+,;=@\\-";

/** Characters of a URI, `count` of them. */
function uriText(more: string, count: string): string {
  return `(?:[${SEGMENT}${more}]|%${HEX}{2})${count}`;
}

/** A URI with a host, of a file, or of the schemes that have neither. @param counts of the characters of path, query and fragment. */
function uri(...[path, query, fragment]: [string, string, string]): string {
  const user = "(?:[A-Za-z0-9._~-]{1,40}(?::[A-Za-z0-9._~-]{1,40})?@)?";
  const ends = `(?:\\?${uriText(":/?", query)})?(?:#${uriText(":/?", fragment)})?`;
  const hosted = `(?:ftps?|[a-eg-z][a-z0-9+-]{0,20})://${user}${WEB_HOST}(?::[1-9][0-9]{0,3})?(?:/${uriText(":/", path)})?${ends}`;
  return `(?:${hosted}|file:///${uriText("/", path)}|(?:mailto|tel|urn|data):${uriText(":/", path.replace("{0", "{1").replace("*", "+"))})`;
}

const URI = uri("{0,300}", "{0,200}", "{0,60}");
const REFERENCE_ENDS = `(?:\\?${uriText(":/?", "{0,200}")})?(?:#${uriText(":/?", "{0,60}")})?`;
const RELATIVE_URI = `(?:/|/?${uriText("", "{1,60}")}(?:/${uriText(":", "{0,60}")}){0,8})${REFERENCE_ENDS}`;

const POINTER = "(?:/(?:[^/~]|~[01]){0,40}){0,10}";

/** Characters, classes and quantifiers that are the same regular expression everywhere, in groups that don't nest. */
const REGEX_ATOM = `(?:[A-Za-z0-9 _@,;:!"'%&=<>#~\`]|\\.|\\\\[dDwWsS.*+?()\\[\\]{}|^$\\\\/]|\\[\\^?(?:[A-Za-z0-9 _@,;:!.+*]|\\\\[dDwWsS\\]\\\\-]){1,20}\\])`;
const REGEX_COUNT = "(?:[*+?]|\\{[0-9]{1,2}\\})?";
const REGEX_TEXT = `(?:${REGEX_ATOM}${REGEX_COUNT}){1,40}`;
const REGEX = `\\^?(?:${REGEX_ATOM}${REGEX_COUNT}|\\((?:\\?:)?${REGEX_TEXT}(?:\\|${REGEX_TEXT}){0,20}\\)${REGEX_COUNT}){1,40}\\$?`;

const BASE64 = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?";

/** By name: all texts that match are of the format. */
const PATTERNS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  duration: DURATION,
  uuid: uuid(HEX, HEX),
  ...Object.fromEntries(Array.from("12345678", (version) => [`uuid${version}`, uuid(version, "[89abAB]")])),
  ipv4: IPV4,
  ipv6: IPV6,
  email: EMAIL,
  "idn-email": EMAIL,
  hostname: HOSTNAME,
  "idn-hostname": HOSTNAME,
  uri: URI,
  iri: URI,
  "uri-reference": `(?:${URI}|${RELATIVE_URI})`,
  "iri-reference": `(?:${URI}|${RELATIVE_URI})`,
  "json-pointer": POINTER,
  "relative-json-pointer": `(?:0|[1-9][0-9]{0,5})(?:#|${POINTER})`,
  regex: REGEX,
  byte: BASE64,
  base64: BASE64,
  // pydantic's.
  ipv4network: IPV4,
  ipv6network: IPV6,
  ipv4interface: IPV4,
  ipv6interface: IPV6,
  ipvanyaddress: `(?:${IPV4}|${IPV6})`,
  ipvanynetwork: `(?:${IPV4}|${IPV6})`,
  ipvanyinterface: `(?:${IPV4}|${IPV6})`,
};

/** A format that answers are held to; undefined where it is an annotation. */
export function stringFormat(name: string): StringFormat | undefined {
  if (!Object.hasOwn(PATTERNS, name)) return undefined;
  const alone = `^${PATTERNS[name]}$`;
  return { alone, beside: name === "uri" || name === "iri" ? `^${uri("*", "*", "*")}$` : alone };
}
