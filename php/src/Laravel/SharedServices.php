<?php

declare(strict_types=1);

namespace Phprun\Worker\Laravel;

use Illuminate\Contracts\Auth\Access\Gate;
use Illuminate\Contracts\Http\Kernel;
use Illuminate\Contracts\Routing\ResponseFactory;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Foundation\Application;
use Illuminate\Notifications\ChannelManager;
use Illuminate\Support\Str;

/** The services that all requests share, and what has to be done about them between two requests. */
final class SharedServices
{
    /** Those that keep the application they were made by, with the method that gives them another one. */
    private const OWNED = [
        'auth' => 'setApplication',
        'cache' => 'setApplication',
        'db' => 'setApplication',
        'filesystem' => 'setApplication',
        'mail.manager' => 'setApplication',
        'queue' => 'setApplication',
        'router' => 'setContainer',
        'session' => 'setContainer',
        'validator' => 'setContainer',
        'view' => 'setContainer',
        Gate::class => 'setContainer',
        Kernel::class => 'setApplication',
        ChannelManager::class => 'setContainer',
        'Illuminate\Broadcasting\BroadcastManager' => 'setApplication',
        'Illuminate\Contracts\Pipeline\Hub' => 'setContainer',
        'Laravel\Socialite\Contracts\Factory' => 'setContainer',
    ];

    /** Those that keep something of a request, with the method that makes them forget it. */
    private const FORGETFUL = [
        'auth' => 'forgetGuards',
        'cookie' => 'flushQueuedCookies',
        'mail.manager' => 'forgetMailers',
        'session' => 'forgetDrivers',
        'translator' => 'flushParsedKeys',
        'view' => 'flushState',
        ChannelManager::class => 'forgetDrivers',
        'Inertia\ResponseFactory' => 'flushShared',
        'Laravel\Scout\EngineManager' => 'forgetEngines',
        'Laravel\Socialite\Contracts\Factory' => 'forgetDrivers',
        'Livewire\LivewireManager' => 'flushState',
    ];

    /** The same for each database connection. */
    private const FORGETFUL_CONNECTION = [
        'flushQueryLog',
        'forgetRecordModificationState',
        'resetTotalQueryDuration',
        'allowQueryDurationHandlersToRunAgain',
    ];

    /** Those that are made anew out of the above. */
    private const DERIVED = ['auth.driver', 'session.store', 'redirect', ResponseFactory::class];

    /** @var array<string, mixed> */
    private readonly array $settings;
    /** @var array<string, mixed> */
    private readonly array $viewData;
    private readonly bool $unguarded;
    private readonly ?string $dateLocale;

    /** Notes how things are now, when the application has booted. */
    public function __construct(private readonly Application $root)
    {
        $this->settings = $root['config']->all();
        $this->viewData = $root->resolved('view') ? $root['view']->getShared() : [];
        $this->unguarded = Model::isUnguarded();
        $this->dateLocale = $this->dateLocale();
    }

    /** Before a request: those that have an application get the one of the request. */
    public function lendTo(Application $sandbox): void
    {
        $this->setOwner($sandbox);
        foreach (self::DERIVED as $service) {
            $sandbox->forgetInstance($service);
        }
        // A copy, since what a request sets (defaults, a scheme) cannot be told from what was set at boot.
        $sandbox->instance('url', clone $this->root['url']);
        if ($sandbox->resolved('view')) {
            $sandbox['view']->share('app', $sandbox);
        }
    }

    /** After a request, whichever way it has ended: nothing of it stays. */
    public function takeBack(): void
    {
        $this->setOwner($this->root);
        foreach (self::FORGETFUL as $service => $method) {
            $this->call($service, $method);
        }
        $this->call('cache', 'forgetDriver', 'array');
        $this->restoreSettings();
        $this->restoreView();
        $this->restoreLocale();
        $this->forgetRoute();
        $this->forgetQueries();
        $this->forgetLogContext();
        Model::unguard($this->unguarded);
        Str::flushCache();
        if (\class_exists('Illuminate\Support\Once')) {
            \Illuminate\Support\Once::flush();
        }
    }

    private function setOwner(Application $app): void
    {
        foreach (self::OWNED as $service => $method) {
            $this->call($service, $method, $app);
        }
        $this->giveListenersTo($app);
    }

    /** Calls a method of a shared service, if it was made while booting, and is of a version that has the method. */
    private function call(string $service, string $method, mixed ...$arguments): void
    {
        $object = $this->made($service);
        if ($object !== null && \method_exists($object, $method)) {
            $object->$method(...$arguments);
        }
    }

    /** What all requests share: a service that was made while the application booted, and that there is one of. */
    private function made(string $service): ?object
    {
        $isMade = $this->root->resolved($service) && $this->root->isShared($this->root->getAlias($service));
        return $isMade ? $this->root->make($service) : null;
    }

    /** In place, and not by a copy for each sandbox: services that have the repository see what a request sets. */
    private function restoreSettings(): void
    {
        $settings = $this->settings;
        (function () use ($settings): void {
            $this->items = $settings;
        })->call($this->root['config']);
    }

    /** Listeners are made by the container that the dispatcher has; it has no method to give it another one. */
    private function giveListenersTo(Application $app): void
    {
        $events = $this->root['events'];
        if (\property_exists($events, 'container')) {
            (function () use ($app): void {
                $this->container = $app;
            })->call($events);
        }
    }

    private function restoreView(): void
    {
        $view = $this->made('view');
        if ($view === null) {
            return;
        }
        $data = $this->viewData;
        (function () use ($data): void {
            $this->shared = $data;
        })->call($view);
        $engines = $view->getEngineResolver();
        if (\method_exists($engines, 'forget')) {
            foreach (['blade', 'php'] as $engine) {
                $engines->forget($engine);
            }
        }
    }

    private function restoreLocale(): void
    {
        $translator = $this->root['translator'];
        $locale = $this->root['config']->get('app.locale');
        $translator->setFallback($this->root['config']->get('app.fallback_locale'));
        if ($translator->getLocale() !== $locale || $this->dateLocale() !== $this->dateLocale) {
            // Through the application, so that all who follow its locale hear of it.
            $this->root->setLocale($locale);
        }
    }

    private function dateLocale(): ?string
    {
        return \class_exists('Carbon\Carbon') ? \Carbon\Carbon::getLocale() : null;
    }

    /** Routes stay, and keep the controller that was made for them, with all that was given to it. */
    private function forgetRoute(): void
    {
        $router = $this->root['router'];
        $route = $router->current();
        if ($route !== null && \method_exists($route, 'flushController')) {
            $route->flushController();
        }
        (function (): void {
            $this->current = null;
            $this->currentRequest = null;
        })->call($router);
    }

    private function forgetQueries(): void
    {
        foreach ($this->made('db')?->getConnections() ?? [] as $connection) {
            foreach (self::FORGETFUL_CONNECTION as $method) {
                if (\method_exists($connection, $method)) {
                    $connection->$method();
                }
            }
        }
    }

    private function forgetLogContext(): void
    {
        $log = $this->made('log');
        if ($log === null) {
            return;
        }
        if (\method_exists($log, 'flushSharedContext')) {
            $log->flushSharedContext();
        }
        foreach (\method_exists($log, 'getChannels') ? $log->getChannels() : [] as $channel) {
            if (\method_exists($channel, 'withoutContext')) {
                $channel->withoutContext();
            }
            $logger = \method_exists($channel, 'getLogger') ? $channel->getLogger() : null;
            if ($logger instanceof \Monolog\ResettableInterface) {
                $logger->reset();
            }
        }
    }
}
