<?php

declare(strict_types=1);

require __DIR__ . '/_page.php';

const STEPS = 20;
const PAUSE_US = 200_000;

/** Sends what there is, now: first out of PHP's buffers, then to the client. */
function send(string $text): void
{
    echo $text;
    while (ob_get_level() > 0) {
        ob_end_flush();
    }
    flush();
}

if (isset($_GET['events'])) {
    header('Content-Type: text/event-stream');
    header('Cache-Control: no-store');
    for ($step = 1; $step <= STEPS; $step++) {
        $data = ['step' => $step, 'of' => STEPS, 'time' => date('H:i:s'), 'pid' => getmypid()];
        send("id: $step\ndata: " . json_encode($data) . "\n\n");
        usleep(PAUSE_US);
    }
    send("event: done\ndata: {}\n\n");
    exit;
}

if (isset($_GET['plain'])) {
    header('Content-Type: text/plain; charset=utf-8');
    header('Cache-Control: no-store');
    for ($step = 1; $step <= STEPS; $step++) {
        send(sprintf("%2d of %d at %s from process %d\n", $step, STEPS, date('H:i:s'), getmypid()));
        usleep(PAUSE_US);
    }
    exit("done\n");
}

page_start('Stream', 'Output that arrives while the script still runs: 20 steps, one every 200 ms, each sent with flush().');
?>
    <section class="panel" id="stream" data-url="/stream.php?events=1">
        <progress id="progress" max="<?= STEPS ?>" value="0">0</progress>
        <p id="status" role="status">Ready.</p>
        <div class="actions">
            <button id="start" disabled>Start</button>
            <a class="button quiet" href="/stream.php?plain=1">As plain text</a>
        </div>
        <pre id="log" hidden></pre>
        <noscript><p class="note">The button needs JavaScript (EventSource). The plain text stream does not.</p></noscript>
    </section>
    <p>On a terminal: <code>curl -N http://<?= h($_SERVER['HTTP_HOST'] ?? 'localhost') ?>/stream.php?events=1</code></p>
    <script src="/assets/stream.js" defer></script>
<?php
page_end();
