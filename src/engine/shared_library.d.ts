/** The engine's shared library, as a file beside the sources or inside the executable. */
declare module "*.so" {
  const path: string;
  export default path;
}
