/** The compiled C, as files: beside the source tree in development, inside the executable otherwise. */
export { default as transportPath } from "../build/lib/libphprun-transport.so" with { type: "file" };
export { default as phpShimPath } from "../build/lib/libphprun-php.so" with { type: "file" };
