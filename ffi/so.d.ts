/** `import path from "x.so" with { type: "file" }`: where the library is, inside the executable or in build/lib. */
declare module "*.so" {
  const path: string;
  export default path;
}
