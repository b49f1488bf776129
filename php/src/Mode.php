<?php

declare(strict_types=1);

namespace Phprun\Worker;

/** How this script is being run. */
final class Mode
{
    /** False in a classic pool, on the command line, and wherever there is no phprun. */
    public static function isWorker(): bool
    {
        return \function_exists('phprun_worker_info') && \phprun_worker_info()['mode'] === 'worker';
    }
}
