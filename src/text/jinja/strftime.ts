/** Dates in the forms that strftime() knows, in English and in UTC. */

import { TemplateError } from "./errors.ts";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAY_MS = 86_400_000;

/** Longest result. */
const LENGTH_MAX = 10_000;

/** A field: a number with so many digits, filled with zeros or spaces, or words. */
type Field = string | readonly [value: number, width: number, fill?: string];

/** The date in a form. @throws TemplateError when the result would be too long. */
export function strftime(form: string, date: Date): string {
  if (form.length > LENGTH_MAX / 30) throw new TemplateError("the form of a date is too long");
  return form.replace(/%([-_0^#]*)([\s\S])?/gu, (whole, flags: string, letter?: string) => {
    if (letter === undefined) return whole;
    const field = fieldOf(letter, date);
    if (field === undefined) return whole;
    if (typeof field === "string") return flags.includes("^") ? field.toUpperCase() : field;
    const [value, width, fill = "0"] = field;
    if (flags.includes("-")) return String(value);
    return String(value).padStart(width, flags.includes("_") ? " " : flags.includes("0") ? "0" : fill);
  });
}

function fieldOf(letter: string, date: Date): Field | undefined {
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  const [hour, minute, second, weekday] = [
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
    date.getUTCDay(),
  ];
  const yearDay = Math.floor((date.getTime() - Date.UTC(year, 0, 1)) / DAY_MS);
  const twelve = hour % 12 === 0 ? 12 : hour % 12;
  switch (letter) {
    case "a":
      return (DAYS[weekday] as string).slice(0, 3);
    case "A":
      return DAYS[weekday];
    case "b":
    case "h":
      return (MONTHS[month] as string).slice(0, 3);
    case "B":
      return MONTHS[month];
    case "c":
      return strftime("%a %b %e %H:%M:%S %Y", date);
    case "C":
      return [Math.floor(year / 100), 2];
    case "d":
      return [day, 2];
    case "D":
    case "x":
      return strftime("%m/%d/%y", date);
    case "e":
      return [day, 2, " "];
    case "f":
      return [date.getUTCMilliseconds() * 1000, 6];
    case "F":
      return strftime("%Y-%m-%d", date);
    case "g":
      return [isoWeek(date).year % 100, 2];
    case "G":
      return [isoWeek(date).year, 1];
    case "H":
      return [hour, 2];
    case "I":
      return [twelve, 2];
    case "j":
      return [yearDay + 1, 3];
    case "k":
      return [hour, 2, " "];
    case "l":
      return [twelve, 2, " "];
    case "m":
      return [month + 1, 2];
    case "M":
      return [minute, 2];
    case "n":
      return "\n";
    case "p":
      return hour < 12 ? "AM" : "PM";
    case "P":
      return hour < 12 ? "am" : "pm";
    case "r":
      return strftime("%I:%M:%S %p", date);
    case "R":
      return strftime("%H:%M", date);
    case "s":
      return [Math.floor(date.getTime() / 1000), 1];
    case "S":
      return [second, 2];
    case "t":
      return "\t";
    case "T":
    case "X":
      return strftime("%H:%M:%S", date);
    case "u":
      return [weekday === 0 ? 7 : weekday, 1];
    case "U":
      return [Math.floor((yearDay + 7 - weekday) / 7), 2];
    case "V":
      return [isoWeek(date).week, 2];
    case "w":
      return [weekday, 1];
    case "W":
      return [Math.floor((yearDay + 7 - ((weekday + 6) % 7)) / 7), 2];
    case "y":
      return [year % 100, 2];
    case "Y":
      return [year, 1];
    case "z":
    case "Z":
      return "";
    case "%":
      return "%";
    default:
      return undefined;
  }
}

/** The week by ISO 8601, and the year that it belongs to: that of its Thursday. */
function isoWeek(date: Date): { year: number; week: number } {
  const thursday = new Date(date.getTime() + (4 - (date.getUTCDay() || 7)) * DAY_MS);
  const year = thursday.getUTCFullYear();
  return { year, week: Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / DAY_MS / 7) + 1 };
}
