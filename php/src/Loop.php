<?php

declare(strict_types=1);

namespace Phprun\Worker;

/**
 * One request after the other, until the worker is to end.
 *
 * Where there is no worker mode it serves the one request at hand, so that a script works in both kinds of pools.
 */
final class Loop
{
    /**
     * @param callable(): void $handler answers one request
     * @param (callable(bool): bool)|null $afterwards called after each request. Its argument tells whether the handler
     *     returned: it has not after exit() and after an exception, so what it left behind may be half done. When it
     *     returns false the loop ends, and phprun replaces the worker.
     */
    public static function run(callable $handler, ?callable $afterwards = null): void
    {
        if (!Mode::isWorker()) {
            $handler();
            return;
        }
        $returned = false;
        $serve = static function () use ($handler, &$returned): void {
            $handler();
            $returned = true;
        };
        while (\phprun_handle_request($serve)) {
            // Not inside the handler: exit() would skip it there.
            if ($afterwards !== null && !$afterwards($returned)) {
                return;
            }
            $returned = false;
        }
    }
}
