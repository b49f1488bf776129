<?php

/** What the demo pages share: escaping, and the frame around their content. */

declare(strict_types=1);

function h(mixed $value): string
{
    return htmlspecialchars((string) $value, ENT_QUOTES | ENT_SUBSTITUTE | ENT_HTML5, 'UTF-8');
}

function human_bytes(int|float $bytes): string
{
    foreach (['B', 'KiB', 'MiB', 'GiB'] as $unit) {
        if ($bytes < 1024 || $unit === 'GiB') {
            return ($unit === 'B' ? (string) $bytes : number_format($bytes, 1)) . ' ' . $unit;
        }
        $bytes /= 1024;
    }
}

function page_start(string $title, string $lead): void
{
    header('Content-Type: text/html; charset=utf-8');
    header("Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; base-uri 'none'");
    header('X-Content-Type-Options: nosniff');
    $pages = [
        '/' => 'Home',
        '/form.php' => 'Form',
        '/upload.php' => 'Upload',
        '/session.php' => 'Session',
        '/stream.php' => 'Stream',
        '/info.php' => 'phpinfo()',
    ];
    $here = $_SERVER['SCRIPT_NAME'] === '/index.php' ? '/' : $_SERVER['SCRIPT_NAME'];
    if (http_response_code() === 404) {
        $here = null;
    }
    ?>
<!doctype html>
<html lang="en">
<head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title><?= h($title) ?> · phprun</title>
    <link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/assets/style.css">
</head>
<body>
<header class="top">
    <a class="brand" href="/"><img src="/assets/favicon.svg" alt="" width="28" height="28">phprun</a>
    <nav aria-label="Demo pages">
<?php foreach ($pages as $path => $name): ?>
        <a href="<?= h($path) ?>"<?= $path === $here ? ' aria-current="page"' : '' ?>><?= h($name) ?></a>
<?php endforeach ?>
    </nav>
</header>
<main>
    <h1><?= h($title) ?></h1>
    <p class="lead"><?= h($lead) ?></p>
<?php
}

function page_end(): void
{
    ?>
</main>
<footer>
    <p>
        <?= h($_SERVER['SERVER_SOFTWARE'] ?? 'phprun') ?> · PHP <?= h(PHP_VERSION) ?> ·
        pool <?= h($_SERVER['PHPRUN_POOL'] ?? '–') ?>, worker <?= h($_SERVER['PHPRUN_WORKER'] ?? '–') ?>,
        pid <?= h(getmypid()) ?>
    </p>
</footer>
</body>
</html>
<?php
}

/** @param array<string, mixed> $rows */
function table(array $rows): void
{
    echo "<table>\n";
    foreach ($rows as $name => $value) {
        $text = is_scalar($value) || $value === null
            ? (string) $value
            : json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE);
        echo '<tr><th scope="row">', h($name), '</th><td>', h($text), "</td></tr>\n";
    }
    echo "</table>\n";
}
