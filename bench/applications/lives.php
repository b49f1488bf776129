<?php
// Put before a worker script: notes when a worker that was forked from the template is ready, and when one ends.

declare(strict_types=1);

(static function (): void {
    $note = static function (string $what): void {
        $booted = phprun_worker_info()['booted_at'] ?? 0.0;
        $line = sprintf("%s %d %.6F %.6F\n", $what, getmypid(), microtime(true), $booted);
        file_put_contents(getenv('BENCH_LIVES'), $line, FILE_APPEND);
    };
    phprun_after_fork(static fn () => $note('ready'));
    register_shutdown_function(static fn () => $note('ended'));
})();
