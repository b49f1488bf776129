<?php

declare(strict_types=1);

namespace Phprun\Worker\Laravel;

use Illuminate\Container\Container;
use Illuminate\Foundation\Application;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Facade;

/**
 * Copies of a booted application, one for each request.
 *
 * What a request binds and makes goes into its copy, the sandbox, and ends with it. What was made while the application
 * booted is shared with the sandbox: it is told of the sandbox, and loses what the request before has left in it.
 */
final class Sandboxes
{
    private readonly SharedServices $services;
    /** What the application has for a request while there is none. */
    private readonly Request $none;
    private ?Application $sandbox = null;

    /** @param list<string> $fresh */
    public function __construct(private readonly Application $root, private readonly array $fresh)
    {
        $this->services = new SharedServices($root);
        $this->none = $root['request'];
    }

    public function enter(Request $request): Application
    {
        $this->root->forgetScopedInstances();
        $this->root->instance('request', $request);

        $sandbox = clone $this->root;
        $this->sandbox = $sandbox;
        $this->makeCurrent($sandbox);
        foreach ($this->fresh as $service) {
            $sandbox->forgetInstance($service);
        }
        $this->services->lendTo($sandbox);
        // Tells those that asked to be told of a new request.
        $sandbox->instance('request', $request);
        return $sandbox;
    }

    /** @param bool $returned false after exit(), which has left everything as it was at that moment */
    public function leave(bool $returned): void
    {
        $this->root->instance('request', $this->none);
        $this->makeCurrent($this->root);
        $this->services->takeBack();
        if (!$returned) {
            $this->forgetWhatWasBeingMade();
        }
        // It and what it holds point at each other.
        $this->sandbox?->flush();
        $this->sandbox = null;
    }

    private function makeCurrent(Application $app): void
    {
        $app->instance('app', $app);
        $app->instance(Container::class, $app);
        Container::setInstance($app);
        Facade::clearResolvedInstances();
        Facade::setFacadeApplication($app);
    }

    /** The container keeps a stack of what it is making; exit() in a constructor leaves it there. */
    private function forgetWhatWasBeingMade(): void
    {
        (function (): void {
            $this->buildStack = [];
            $this->with = [];
        })->call($this->root);
    }
}
