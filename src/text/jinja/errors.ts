/** What goes wrong with templates, in jinja2's words where it has some. */

/** A template can't be parsed, or the messages can't be made into a prompt: the template said so, or it went over a limit. */
export class TemplateError extends Error {
  override name = "TemplateError";
}
