<?php

declare(strict_types=1);

namespace Phprun\Worker\Laravel;

use Closure;
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Bootstrap\RegisterProviders;
use Illuminate\Http\Request;
use Phprun\Worker\Loop;
use Phprun\Worker\Mode;

/**
 * Boots a Laravel application once and answers each request with a copy of it.
 *
 * In a classic pool, where the process keeps nothing anyway, it serves the one request as `public/index.php` does.
 */
final class Worker
{
    /**
     * Services that all requests share, made before the first: those that are dear, and those that providers reach by
     * the booted application instead of the copy.
     */
    public const SHARED = [
        'auth', 'blade.compiler', 'cache', 'config', 'cookie', 'db', 'db.factory', 'events', 'files', 'filesystem',
        'hash', 'log', 'redis', 'router', 'routes', 'session', 'translator', 'url', 'validator', 'view',
    ];

    /** @var Closure(): Application */
    private readonly Closure $create;

    /**
     * @param callable(): Application $create makes the application: `fn () => require .../bootstrap/app.php`
     * @param list<string> $shared services to share besides SHARED; each must be fit for that
     * @param list<string> $fresh services that were made while the application booted, and that each request wants new
     * @param bool $disconnect ends database connections after each request, in place of keeping them
     */
    public function __construct(
        callable $create,
        private readonly array $shared = [],
        private readonly array $fresh = [],
        private readonly bool $disconnect = false,
    ) {
        $this->create = $create(...);
    }

    /** Returns when the worker is to end; in a classic pool after the one request. */
    public function run(): void
    {
        $app = ($this->create)();
        if (!Mode::isWorker()) {
            $this->answer($app, Request::capture());
            return;
        }
        $this->boot($app);
        $connections = new Connections($app, $this->disconnect);
        \phprun_before_fork($connections->close(...));
        $sandboxes = new Sandboxes($app, $this->fresh);
        Loop::run(
            function () use ($sandboxes): void {
                $request = Request::capture();
                $this->answer($sandboxes->enter($request), $request);
            },
            static function (bool $returned) use ($sandboxes, $connections): bool {
                $connections->settle();
                $sandboxes->leave($returned);
                return true;
            },
        );
    }

    private function answer(Application $app, Request $request): void
    {
        $kernel = $app->make(Kernel::class);
        $response = $kernel->handle($request);
        $response->send();
        if (\function_exists('phprun_finish_request')) {
            // Some versions of send() leave this to others.
            \phprun_finish_request();
        }
        $kernel->terminate($request, $response);
    }

    private function boot(Application $app): void
    {
        // Providers may ask for a request, and there is none yet. The configuration knows where the application is.
        $app->beforeBootstrapping(RegisterProviders::class, static function (Application $app): void {
            $app->instance('request', Request::create($app['config']->get('app.url') ?: 'http://localhost'));
        });
        $app->make(Kernel::class)->bootstrap();
        $app->loadDeferredProviders();
        foreach ([...self::SHARED, ...$this->shared] as $service) {
            if ($app->bound($service)) {
                $app->make($service);
            }
        }
    }
}
