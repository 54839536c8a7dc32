/** What may come of a model's Markdown: formatted text and links, nothing that runs, loads or looks like the page's own. */

import DOMPurify from "dompurify";

const TAGS = [
  ..."a b blockquote br caption code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i input ins kbd li mark ol p pre q s".split(
    " ",
  ),
  ..."samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var".split(" "),
];

/** `class` for code that was highlighted and for math; the page has no style that a model could misuse by it. */
const ATTRIBUTES = [
  "href",
  "title",
  "class",
  "align",
  "start",
  "type",
  "checked",
  "disabled",
  "open",
  "colspan",
  "rowspan",
];

/** Classes that the page's own renderer makes. */
const CLASSES = /^(?:hljs(?:-\w+)*|language-[\w+#.-]+|math|image)$/;

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  // Boxes of lists of tasks are there to be seen.
  if (node.nodeName === "INPUT") {
    if (node.getAttribute("type") === "checkbox") node.setAttribute("disabled", "");
    else node.remove();
  }
  const names = node.getAttribute("class");
  if (names === null) return;
  const kept = names.split(/\s+/).filter((name) => CLASSES.test(name));
  if (kept.length > 0) node.setAttribute("class", kept.join(" "));
  else node.removeAttribute("class");
});

/** HTML as nodes of which none can do harm. */
export function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    // Of addresses, whole ones alone; the other attributes are none.
    ALLOWED_URI_REGEXP: /^(?:https?|mailto|tel):/i,
    ADD_URI_SAFE_ATTR: ATTRIBUTES.filter((name) => name !== "href"),
    RETURN_DOM_FRAGMENT: true,
  });
}
