<?php
declare(strict_types=1);

const STREAMED_PARTS = 8;
const ENDLESS_PARTS = 400;

function end_with(string $path, string $text, string $token): void
{
    match ($path) {
        'exit' => end_by_exit($text),
        'throw' => throw new LogicException("nobody catches $token"),
        'fatal' => end_by_fatal_error(),
        'cut' => end_in_the_middle($text),
        'leave' => go_on($token),
        'stream' => stream($text),
        'finish' => finish_early($text, $token),
        default => print $text,
    };
}

function end_by_exit(string $text): never
{
    try {
        echo substr($text, 0, 10);
        exit(substr($text, 10));
    } finally {
        echo 'not reached';
    }
}

/** No exception: the worker ends with it. */
function end_by_fatal_error(): void
{
    require __DIR__ . '/redeclared.php';
}

function end_in_the_middle(string $text): void
{
    while (ob_get_level() > 0) {
        ob_end_flush();
    }
    echo $text;
    flush();
    end_by_fatal_error();
}

function stream(string $text): void
{
    foreach (str_split($text, intdiv(strlen($text), STREAMED_PARTS) + 1) as $part) {
        echo $part;
        flush();
    }
}

/** Until the client has left, or has had enough. */
function go_on(string $token): void
{
    while (ob_get_level() > 0) {
        ob_end_flush();
    }
    for ($i = 0; $i < ENDLESS_PARTS && connection_aborted() === 0; $i++) {
        echo str_repeat("$token\n", 50);
        flush();
        usleep(200);
    }
}

function finish_early(string $text, string $token): void
{
    echo $text;
    phprun_finish_request();
    echo "too late $token";
    @header("X-Late: $token");
    $_SERVER['PLANTED'] = $_GET['planted'] = $token;
    ob_start();
    echo $token;
}
