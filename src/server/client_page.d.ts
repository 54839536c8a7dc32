/** The chat page, as tools/bundle_page.ts makes it: a file beside the sources or inside the executable. */
declare module "*.page" {
  const path: string;
  export default path;
}
