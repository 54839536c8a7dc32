/** Packed files are imported as paths: `import path from "x.wf" with { type: "file" }`. */
declare module "*.wf" {
  const path: string;
  export default path;
}
