/** An extension that is not for workers in threads, and what goes wrong, in words. */
export interface UnsafeExtension {
  readonly name: string;
  readonly reason: string;
  /** It can bring the host down, and all that its threads are doing; otherwise requests only see each other's settings. */
  readonly crashes: boolean;
}

/**
 * What is known from public reports. That an extension is not here does not say that it is safe: it must have been
 * built for ZTS, or PHP refuses to load it, but what its C libraries do with threads only their authors know.
 */
const KNOWN: readonly UnsafeExtension[] = [
  // https://frankenphp.dev/docs/known-issues/, https://github.com/php/php-src/issues/12322
  { name: "imap", reason: "its c-client library is not thread-safe", crashes: true },
  // https://frankenphp.dev/docs/known-issues/, https://github.com/newrelic/newrelic-php-agent/issues/864
  { name: "newrelic", reason: "New Relic supports no thread-safe PHP", crashes: true },
  // https://github.com/krakjoe/pcov/issues/132, https://github.com/php/frankenphp/pull/2492
  { name: "pcov", reason: "it swaps hooks of the engine that all threads share", crashes: true },
  // https://github.com/php/frankenphp/issues/2235
  {
    name: "grpc",
    reason: "its own threads take memory from PHP, which they have no context for",
    crashes: true,
  },
  // https://github.com/php/frankenphp/pull/2492
  {
    name: "imagick",
    reason: "the OpenMP threads of ImageMagick can crash it; OMP_NUM_THREADS=1 in the environment helps",
    crashes: true,
  },
  // https://github.com/vitoc/gmagick/pull/50
  {
    name: "gmagick",
    reason: "the OpenMP threads of GraphicsMagick can crash it; OMP_NUM_THREADS=1 in the environment helps",
    crashes: true,
  },
  // https://github.com/DataDog/dd-trace-php/issues/3729
  {
    name: "datadog-profiling",
    reason: "crashes with corrupt memory have been reported from thread-safe PHP",
    crashes: true,
  },
  // https://www.php.net/manual/en/function.bindtextdomain.php; textdomain() is kept apart, see ffi/php/gettext.c
  {
    name: "gettext",
    reason:
      "bindtextdomain() acts on the whole process, so sites that share a pool need domains of different names",
    crashes: false,
  },
];

/** Those of `extensions` that are known not to be for workers in threads. */
export function unsafeInThreads(extensions: readonly string[]): UnsafeExtension[] {
  const loaded = new Set(extensions.map((name) => name.toLowerCase()));
  return KNOWN.filter(({ name }) => loaded.has(name));
}
