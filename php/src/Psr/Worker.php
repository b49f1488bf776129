<?php

declare(strict_types=1);

namespace Phprun\Worker\Psr;

use Phprun\Worker\Loop;
use Psr\Http\Message\ResponseInterface;
use Psr\Http\Message\ServerRequestFactoryInterface;
use Psr\Http\Message\ServerRequestInterface;
use Psr\Http\Message\StreamFactoryInterface;
use Psr\Http\Message\UploadedFileFactoryInterface;
use Psr\Http\Message\UriFactoryInterface;
use Psr\Http\Server\RequestHandlerInterface;

/** Runs a PSR-15 application, with whichever PSR-17 factories it uses. */
final class Worker
{
    /** @var \Closure(ServerRequestInterface): ResponseInterface */
    private readonly \Closure $handle;
    private readonly Emitter $emitter;

    /**
     * @param RequestHandlerInterface|callable(ServerRequestInterface): ResponseInterface $handler
     * @param (callable(ServerRequestInterface, ResponseInterface): void)|null $terminate what is left to do when the
     *     client has its answer
     */
    public function __construct(
        RequestHandlerInterface|callable $handler,
        private readonly ServerRequests $requests,
        private $terminate = null,
    ) {
        // psr/http-server-handler need not be there when the handler is a callable: instanceof does not load it.
        $this->handle = $handler instanceof RequestHandlerInterface ? $handler->handle(...) : $handler(...);
        $this->emitter = new Emitter();
    }

    /**
     * With one object that is all the factories, as those of nyholm/psr7 and guzzlehttp/psr7 are.
     *
     * @param RequestHandlerInterface|callable(ServerRequestInterface): ResponseInterface $handler
     */
    public static function with(
        ServerRequestFactoryInterface&UriFactoryInterface&StreamFactoryInterface&UploadedFileFactoryInterface $factory,
        RequestHandlerInterface|callable $handler,
    ): self {
        return new self($handler, new ServerRequests($factory, $factory, $factory, $factory));
    }

    /**
     * Returns when the worker is to end; in a classic pool after the one request.
     *
     * @param (callable(): void)|null $settle called in worker mode after each request, also after exit() and
     *     exceptions: ends what would have ended with the process, transactions for one
     */
    public function run(?callable $settle = null): void
    {
        Loop::run($this->serve(...), $settle === null ? null : static function () use ($settle): bool {
            $settle();
            return true;
        });
    }

    private function serve(): void
    {
        $request = $this->requests->fromGlobals();
        $response = ($this->handle)($request);
        $this->emitter->emit($response, $request->getMethod());
        if ($this->terminate === null) {
            return;
        }
        if (\function_exists('fastcgi_finish_request')) {
            \fastcgi_finish_request();
        }
        ($this->terminate)($request, $response);
    }
}
