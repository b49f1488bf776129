<?php

declare(strict_types=1);

require __DIR__ . '/_page.php';

// As the front controller, this script also gets every address that is nothing else.
if (!in_array(strtok($_SERVER['REQUEST_URI'], '?'), ['/', '/index', '/index.php'], true)) {
    http_response_code(404);
    page_start('Page not found', 'There is no demo page at this address.');
    echo "<p><a href=\"/\">Home</a></p>\n";
    page_end();
    exit;
}

/** What opcache says about itself, as one word and one sentence. */
function opcache_state(): array
{
    if (!function_exists('opcache_get_status')) {
        return ['missing', 'The extension is not loaded.'];
    }
    // Warns, and returns false, when opcache.restrict_api keeps this script out.
    $status = @opcache_get_status(false);
    if ($status === false) {
        return ['off', 'It is loaded, but not enabled (or its status is not for this script).'];
    }
    $numbers = $status['opcache_statistics'];
    return [
        'on',
        sprintf(
            '%d scripts cached, %.1f %% hits, %s of memory used',
            $numbers['num_cached_scripts'],
            $numbers['opcache_hit_rate'],
            human_bytes($status['memory_usage']['used_memory']),
        ),
    ];
}

[$opcache, $opcacheDetail] = opcache_state();
$answeredBy = isset($_SERVER['PHPRUN_POOL'], $_SERVER['PHPRUN_WORKER'])
    ? "{$_SERVER['PHPRUN_POOL']} #{$_SERVER['PHPRUN_WORKER']}"
    : 'not phprun';
$limit = (string) ini_get('memory_limit');
$extensions = get_loaded_extensions();
natcasesort($extensions);
$scanned = array_filter(array_map('trim', explode(',', (string) php_ini_scanned_files())));

page_start('It works', 'Your PHP runs. Put your application in this folder, or point phprun at another one with --root.');
?>
    <section class="cards" aria-label="State">
        <article class="card">
            <h2>PHP</h2>
            <p class="big"><?= h(PHP_VERSION) ?></p>
            <p><?= PHP_ZTS ? 'thread-safe (ZTS)' : 'not thread-safe (NTS)' ?>, SAPI <code><?= h(PHP_SAPI) ?></code></p>
        </article>
        <article class="card">
            <h2>opcache</h2>
            <p class="big <?= $opcache === 'on' ? 'good' : 'bad' ?>"><?= h($opcache) ?></p>
            <p><?= h($opcacheDetail) ?></p>
        </article>
        <article class="card">
            <h2>Answered by</h2>
            <p class="big"><?= h($answeredBy) ?></p>
            <p>pool and worker, process <?= h(getmypid()) ?></p>
        </article>
        <article class="card">
            <h2>Memory</h2>
            <p class="big"><?= h(human_bytes(memory_get_peak_usage())) ?></p>
            <p>at most in this request, <?= $limit === '-1' ? 'without a limit' : 'of ' . h($limit) ?></p>
        </article>
    </section>

    <h2>Try it</h2>
    <ul class="links">
        <li><a href="/form.php">Form</a> what a POST request looks like to PHP</li>
        <li><a href="/upload.php">Upload</a> one file or many, with their checksums</li>
        <li><a href="/session.php">Session</a> a counter that remembers you</li>
        <li><a href="/stream.php">Stream</a> output that arrives while the script still runs</li>
        <li><a href="/info.php">phpinfo()</a> everything else</li>
    </ul>

    <h2>Where things are</h2>
<?php
table([
    'Document root' => $_SERVER['DOCUMENT_ROOT'],
    'php.ini' => php_ini_loaded_file() ?: 'none',
    'More ini files' => count($scanned) === 0 ? 'none' : count($scanned) . ' in ' . dirname(reset($scanned)),
    'Server' => $_SERVER['SERVER_SOFTWARE'] ?? '',
    'Your address' => $_SERVER['REMOTE_ADDR'] ?? '',
]);
?>
    <h2><?= count($extensions) ?> extensions</h2>
    <ul class="chips">
<?php foreach ($extensions as $extension): ?>
        <li><?= h($extension) ?></li>
<?php endforeach ?>
    </ul>
<?php
page_end();
