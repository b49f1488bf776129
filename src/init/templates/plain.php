<?php

/*
 * A worker script to start from: what is above the loop runs once in each worker, the handler runs for every request.
 *
 * The handler runs public/index.php again and again, in one PHP that keeps what it has. For that file this means:
 *
 *  - Functions and classes must not be declared in it: the second request would declare them again, and that is a fatal
 *    error. They belong into files of their own, loaded above or by an autoloader. Constants likewise.
 *  - `require_once` does nothing the second time. It suits files that only declare something; what is to happen in each
 *    request takes `require`.
 *  - Its variables are local to the handler: they are gone after the request, and `global $x` does not find them.
 *  - Static properties, globals, ini settings and open connections stay. What is of one visitor must not be kept there.
 *  - exit() ends the request and not the worker.
 *
 * Superglobals, php://input, headers, output buffers and the session are new for each request, as they always were.
 * `phprun serve --paranoid` tells, while you develop, what a request has left behind.
 */

declare(strict_types=1);

if (is_file(__DIR__ . '/vendor/autoload.php')) {
    require __DIR__ . '/vendor/autoload.php';
}
// Load here what all requests need: settings, templates, a database connection.

// Relative paths start here, as they do without worker mode.
chdir(__DIR__ . '/public');

$serve = static function (): void {
    require __DIR__ . '/public/index.php';
};

while (phprun_handle_request($serve)) {
    // The response is out. Put back here what the next request must not see.
}
