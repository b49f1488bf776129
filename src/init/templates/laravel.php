<?php

/*
 * The worker script of a Laravel application: boots it once, then answers request after request with it.
 *
 * What one request leaves behind must not reach the next. After each response the container, and every service in it
 * that was there when the boot was over, get their properties back as they were then: configuration, locale, guards,
 * session, cookies, shared view data, the current route. Services that were made for the request are forgotten with it.
 *
 * What this does not reach stays: static properties, globals, and objects inside the services. `phprun serve --paranoid`
 * tells of such changes while you develop.
 */

declare(strict_types=1);

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Bootstrap\RegisterProviders;
use Illuminate\Http\Request;
use Illuminate\Routing\Route;
use Illuminate\Support\Facades\Facade;
use Illuminate\Support\Once;
use Illuminate\Support\Str;

/** Made before the first request, so that they are there for all. Add what is costly to make and holds no request. */
const WARM = ['auth', 'cache', 'cookie', 'db', 'log', 'redis', 'session', 'translator', 'url', 'view'];

/**
 * Not put back. To keep connections is half the point; and a model registers its event listeners once, when the first
 * request uses it, so those must not be lost.
 */
const KEPT = ['db', 'db.factory', 'db.transactions', 'events', 'redis'];

define('LARAVEL_START', microtime(true));
require __DIR__ . '/vendor/autoload.php';
$app = require __DIR__ . '/bootstrap/app.php';

// Providers may ask for the request while they boot, when there is none yet.
$app->beforeBootstrapping(RegisterProviders::class, static function (Application $app): void {
    $app->instance('request', Request::create($app['config']->get('app.url') ?: 'http://localhost'));
});
$kernel = $app->make(Kernel::class);
$kernel->bootstrap();
$app->loadDeferredProviders();
foreach (array_filter(WARM, $app->bound(...)) as $service) {
    $app->make($service);
}

/** Notes what the properties of these objects hold. The function it returns puts it all back. */
$remember = static function (array $objects): Closure {
    $held = $empty = [];
    foreach ($objects as $object) {
        // A class sees its own private properties only, so its parents are asked for theirs.
        for ($class = new ReflectionClass($object); $class && !$class->isInternal(); $class = $class->getParentClass()) {
            foreach ($class->getProperties() as $property) {
                $own = $property->class === $class->name && !$property->isStatic() && !$property->isReadOnly();
                if (!$own || (PHP_VERSION_ID >= 80400 && $property->hasHooks())) {
                    continue;
                }
                if ($property->isInitialized($object)) {
                    $held[] = [$property, $object, $property->getValue($object)];
                } else {
                    $name = $property->name;
                    $empty[] = Closure::bind(function () use ($name): void { unset($this->$name); }, $object, $class->name);
                }
            }
        }
    }
    return static function () use ($held, $empty): void {
        foreach ($held as [$property, $object, $value]) {
            $property->setValue($object, $value);
        }
        foreach ($empty as $unset) {
            $unset();
        }
    };
};
$services = array_diff_key((fn (): array => $this->instances)->call($app), array_flip(KEPT));
$services = array_filter($services, static fn ($it) => is_object($it) && !$it instanceof Closure && !$it instanceof UnitEnum);
$restore = $remember([$app, ...array_values($services)]);
$locale = $app->getLocale();
$unguarded = Model::isUnguarded();

$serve = static function () use ($kernel): void {
    $request = Request::capture();
    $response = $kernel->handle($request);
    $response->send();
    // The client has its answer; what terminate() does is not waited for.
    phprun_finish_request();
    $kernel->terminate($request, $response);
};

$connections = static fn (): array => $app->bound('db') ? $app['db']->getConnections() : [];

/** After each request, also after one that ended with exit() or dd(). */
$cleanUp = static function () use ($app, $connections, $restore, $locale, $unguarded): void {
    foreach ($connections() as $connection) {
        try {
            // A request that ended half-way may have left a transaction open: the next one must not be part of it.
            if ($connection->transactionLevel() > 0) {
                $connection->rollBack(0);
            }
            // One that was begun without Laravel, which does not count it.
            $pdo = $connection->getRawPdo();
            if ($pdo instanceof PDO && $pdo->inTransaction()) {
                $pdo->rollBack();
            }
        } catch (Throwable) {
            $connection->disconnect();
        }
        foreach (['flushQueryLog', 'forgetRecordModificationState', 'resetTotalQueryDuration', 'allowQueryDurationHandlersToRunAgain'] as $reset) {
            if (method_exists($connection, $reset)) {
                $connection->$reset();
            }
        }
    }
    // A route keeps the controller that answered, with all that it holds.
    $route = $app['request']->route();
    if ($route instanceof Route && method_exists($route, 'flushController')) {
        $route->flushController();
    }
    // Tells Carbon, too.
    if ($app->getLocale() !== $locale) {
        $app->setLocale($locale);
    }
    $restore();
    Facade::clearResolvedInstances();
    Model::unguard($unguarded);
    // What these remember by themselves; each came with some version of Laravel.
    foreach ([[Str::class, 'flushCache'], [Once::class, 'flush']] as $flush) {
        if (is_callable($flush)) {
            $flush();
        }
    }
};

// Workers are forked from this one when it has booted. A connection that two processes share is of use to neither.
phprun_before_fork(static function () use ($app, $connections): void {
    foreach ($connections() as $connection) {
        $connection->disconnect();
    }
    foreach ($app->resolved('redis') ? array_keys($app['redis']->connections() ?? []) : [] as $name) {
        $app['redis']->purge($name);
    }
});

while (phprun_handle_request($serve)) {
    $cleanUp();
}
