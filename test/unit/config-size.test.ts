import { expect, test } from "bun:test";
import fc from "fast-check";
import { SIZE_PATTERN, formatSize, parseSize } from "../../src/config/size.ts";

test.each([
  ["32MiB", 32 * 1024 ** 2],
  ["32M", 32 * 1024 ** 2],
  ["32mb", 32 * 1024 ** 2],
  ["512k", 512 * 1024],
  ["2 GiB", 2 * 1024 ** 3],
  ["1048576", 1048576],
  ["7B", 7],
  ["0", 0],
])("a size %s is %i bytes", (text, bytes) => {
  expect(parseSize(text)).toBe(bytes);
});

test.each(["", "M", "1.5M", "-1", "1T", "1 M B", "0x10", "9007199254740993", "9999999G", "1e3"])(
  '"%s" is no size',
  (text) => {
    expect(parseSize(text)).toBeUndefined();
  },
);

test("a size that was written is read back as the same number of bytes", () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => {
      expect(parseSize(formatSize(bytes))).toBe(bytes);
    }),
  );
});

test("the schema takes exactly the texts that are sizes", () => {
  const text = fc.oneof(fc.string({ maxLength: 9 }), fc.stringMatching(/^\d{1,6} ?[kKmMgGiIbB]{0,3}$/));
  fc.assert(
    fc.property(text, (size) => {
      expect(new RegExp(SIZE_PATTERN).test(size)).toBe(parseSize(size) !== undefined);
    }),
  );
});
