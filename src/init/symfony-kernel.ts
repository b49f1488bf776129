import type { Folder } from "./folder.ts";

/** The class of the application's kernel, as src/Kernel.php declares it. */
export function findKernelClass(folder: Folder): string | undefined {
  const source = folder.read("src/Kernel.php") ?? "";
  if (!/^\s*(?:final\s+)?class\s+Kernel\b/m.test(source)) return undefined;
  const namespace = /^\s*namespace\s+([\w\\]+)\s*[;{]/m.exec(source)?.[1];
  return namespace === undefined ? "Kernel" : `${namespace}\\Kernel`;
}
