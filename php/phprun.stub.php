<?php

/**
 * What phprun adds to PHP, for editors and static analysers. Not to be loaded: phprun has the real ones.
 */

/** Something that only matters to those who look for an error. */
const PHPRUN_LOG_LEVEL_DEBUG = -4;
/** Something that has happened as it should. */
const PHPRUN_LOG_LEVEL_INFO = 0;
/** Something that is not as it should be, and was got over. */
const PHPRUN_LOG_LEVEL_WARN = 4;
/** Something that has failed. */
const PHPRUN_LOG_LEVEL_ERROR = 8;

/**
 * Waits for the next request, answers it, and returns when the answer is complete.
 *
 * To be called in a loop, by the worker script of a pool in worker mode (`pools[].worker_script`). Before the handler
 * is called `$_GET`, `$_POST`, `$_COOKIE`, `$_FILES`, `$_SERVER`, `$_REQUEST` and php://input are those of the
 * request; what it echoes and passes to `header()` is the answer. Objects, statics, globals and connections stay.
 *
 * - `exit` in the handler ends the request, and not the worker.
 * - An exception that the handler lets out goes to the exception handler, if the application has set one; else the
 *   answer is 500 and the exception is logged. The worker stays, unless `worker.on_exception` is `recycle`.
 * - A fatal error answers 500, and this worker is replaced.
 * - Shutdown functions that were registered in the handler run at the end of the request, the others at that of the
 *   worker.
 *
 * @param callable(): mixed $handler what it returns is ignored
 *
 * @return bool false when the worker is to end: the script has to leave its loop, and end
 *
 * @throws RuntimeException in classic mode, and when it is called inside a handler
 */
function phprun_handle_request(callable $handler): bool
{
}

/**
 * Sends the answer as it is now, and lets the script go on without a client.
 *
 * What is echoed later is dropped. `fastcgi_finish_request()` is the same.
 *
 * @return bool false when it was finished before
 */
function phprun_finish_request(): bool
{
}

/**
 * Writes to the log of phprun.
 *
 * @param int $level a PHPRUN_LOG_LEVEL_*, or a number in between
 * @param array<string, mixed> $context what else is to be said, by name
 */
function phprun_log(string $message, int $level = PHPRUN_LOG_LEVEL_INFO, array $context = []): void
{
}

/**
 * Who runs this script.
 *
 * - `mode`: what kind of pool it is.
 * - `pool`: its name.
 * - `worker`: the number of the worker in its pool, from 0.
 * - `generation`: of the pool, from 1; a reload begins the next.
 * - `requests`: that this worker has begun since it booted, this one among them.
 * - `booted_at`: when the worker script had booted, as Unix time in seconds; null in classic mode and while it boots.
 *
 * @return array{
 *     mode: 'worker'|'classic',
 *     pool: string,
 *     worker: int,
 *     generation: int,
 *     requests: int,
 *     booted_at: float|null
 * }
 */
function phprun_worker_info(): array
{
}

/**
 * Registers what to do before workers are forked from this script, which has booted for all of them.
 *
 * Close here what two processes cannot share: connections to databases and caches. Called only where workers are forked
 * from a template (`isolation: process` and `worker.template`), not where each boots by itself.
 *
 * @param callable(): mixed $hook called each time, in the order of registration
 *
 * @throws RuntimeException behind the first call of phprun_handle_request()
 */
function phprun_before_fork(callable $hook): void
{
}

/**
 * Registers what to do in each worker that has been forked from this script, before its first request.
 *
 * @param callable(): mixed $hook called in the order of registration
 *
 * @throws RuntimeException behind the first call of phprun_handle_request()
 */
function phprun_after_fork(callable $hook): void
{
}

/** The same as phprun_finish_request(), by the name that PHP code knows. */
function fastcgi_finish_request(): bool
{
}

/**
 * The headers of the request, by their names; those that came more than once are joined with `, `.
 *
 * @return array<string, string>
 */
function getallheaders(): array
{
}

/** @return array<string, string> the same as getallheaders() */
function apache_request_headers(): array
{
}

/** @return array<string, string> the headers of the answer as they are now */
function apache_response_headers(): array
{
}

// With `php.compat: [frankenphp]`, which is the default: scripts that were written for FrankenPHP run as they are. In
// worker mode $_SERVER['FRANKENPHP_WORKER'] is '1'.

const FRANKENPHP_LOG_LEVEL_DEBUG = -4;
const FRANKENPHP_LOG_LEVEL_INFO = 0;
const FRANKENPHP_LOG_LEVEL_WARN = 4;
const FRANKENPHP_LOG_LEVEL_ERROR = 8;

/**
 * The same as phprun_handle_request().
 *
 * @param callable(): mixed $callback
 *
 * @throws RuntimeException in classic mode, and when it is called inside a handler
 */
function frankenphp_handle_request(callable $callback): bool
{
}

/** The same as phprun_finish_request(). */
function frankenphp_finish_request(): bool
{
}

/** @return array<string, string> the same as getallheaders() */
function frankenphp_request_headers(): array
{
}

/** @return array<string, string> the same as apache_response_headers() */
function frankenphp_response_headers(): array
{
}

/**
 * The same as phprun_log().
 *
 * @param array<string, mixed> $context
 */
function frankenphp_log(string $message, int $level = PHPRUN_LOG_LEVEL_INFO, array $context = []): void
{
}
