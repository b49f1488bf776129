/** `import path from "x.so" with { type: "file" }`: where the library is, inside the executable or in build/lib. */
declare module "*.so" {
  const path: string;
  export default path;
}

/** What ffi/compile.ts writes; for type checks of a tree in which nothing has been built. */
declare module "*/build/lib/shims.ts" {
  export const shims: { path: string; zendApi: number; zts: boolean; debug: boolean; version: string }[];
}
