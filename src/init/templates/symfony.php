<?php

/*
 * The worker script of a Symfony application: boots its kernel once, then answers request after request with it.
 *
 * What one request leaves behind must not reach the next. Before the next request the kernel resets its services: all
 * that implement Symfony\Contracts\Service\ResetInterface or are tagged `kernel.reset`, Doctrine's entity managers among
 * them. A service of yours that remembers something of a request has to be one of these. Static properties and globals
 * stay. `phprun serve --paranoid` tells of what has changed while you develop.
 *
 * A booted kernel does not look whether its configuration has changed: use `phprun serve --watch` while you develop.
 */

declare(strict_types=1);

use App\Kernel;
use Symfony\Component\Dotenv\Dotenv;
use Symfony\Component\ErrorHandler\Debug;
use Symfony\Component\HttpFoundation\Request;

require __DIR__ . '/vendor/autoload.php';

$given = $_SERVER;
if (class_exists(Dotenv::class) && (is_file(__DIR__ . '/.env') || is_file(__DIR__ . '/.env.local.php'))) {
    (new Dotenv())->bootEnv(__DIR__ . '/.env');
}
// Each request has a new $_SERVER, in which what the .env files say is missing.
$dotenv = array_filter($_SERVER, static fn ($value, $name) => ($given[$name] ?? null) !== $value, ARRAY_FILTER_USE_BOTH);

$environment = $_SERVER['APP_ENV'] ?? 'dev';
$debug = filter_var($_SERVER['APP_DEBUG'] ?? $environment !== 'prod', FILTER_VALIDATE_BOOL);
if ($debug) {
    umask(0000);
    Debug::enable();
}
$kernel = new Kernel($environment, $debug);
$kernel->boot();

$returned = true;
$serve = static function () use ($kernel, $dotenv, &$returned): void {
    $returned = false;
    $_SERVER = $dotenv + $_SERVER;
    $request = Request::createFromGlobals();
    $response = $kernel->handle($request);
    $response->send();
    // The client has its answer; what terminate() does is not waited for.
    phprun_finish_request();
    $kernel->terminate($request, $response);
    $returned = true;
};

$connections = static function () use ($kernel): iterable {
    $container = $kernel->getContainer();
    return $container->initialized('doctrine') ? $container->get('doctrine')->getConnections() : [];
};

/** After each request, also after one that ended with exit(). */
$cleanUp = static function () use ($kernel, $connections, &$returned): void {
    foreach ($connections() as $connection) {
        try {
            // A request that ended half-way may have left a transaction open: the next one must not be part of it.
            while ($connection->isTransactionActive()) {
                $connection->rollBack();
            }
        } catch (Throwable) {
            $connection->close();
        }
    }
    $container = $kernel->getContainer();
    // Empty already, unless somebody pushed a request and did not take it off.
    while ($container->get('request_stack')->pop() !== null) {
    }
    // exit() runs no `finally`: the kernel would take that request for one that still runs, and reset nothing any more.
    if (!$returned) {
        $container->get('services_resetter')->reset();
        $kernel->shutdown();
        $kernel->boot();
    }
};

// Workers are forked from this one when it has booted. A connection that two processes share is of use to neither.
phprun_before_fork(static function () use ($connections): void {
    foreach ($connections() as $connection) {
        $connection->close();
    }
});

while (phprun_handle_request($serve)) {
    $cleanUp();
}
