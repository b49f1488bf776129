<?php

/*
 * The worker script of a Laravel application: phprun/worker boots it once and answers each request with a copy of it.
 * What the arguments of Worker can change is told in that class.
 */

declare(strict_types=1);

use Phprun\Worker\Laravel\Worker;

require __DIR__ . '/vendor/autoload.php';

(new Worker(static fn () => require __DIR__ . '/bootstrap/app.php'))->run();
