<?php

declare(strict_types=1);

require __DIR__ . '/_page.php';

session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $_SESSION = [];
    session_regenerate_id(true);
    header('Location: /session.php', true, 303);
    exit;
}

$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
$_SESSION['since'] ??= time();
$_SESSION['workers'][getmypid()] = ($_SESSION['workers'][getmypid()] ?? 0) + 1;

page_start('Session', 'A counter that remembers you, whichever worker answers.');
?>
    <section class="cards">
        <article class="card">
            <h2>Visits</h2>
            <p class="big"><?= h($_SESSION['visits']) ?></p>
            <p>since <?= h(date('H:i:s', $_SESSION['since'])) ?></p>
        </article>
        <article class="card">
            <h2>Workers met</h2>
            <p class="big"><?= count($_SESSION['workers']) ?></p>
            <p>this time process <?= h(getmypid()) ?></p>
        </article>
        <article class="card">
            <h2>Kept in</h2>
            <p class="big"><?= h(session_module_name()) ?></p>
            <p><code><?= h(session_save_path() ?: sys_get_temp_dir()) ?></code></p>
        </article>
    </section>
    <div class="actions">
        <a class="button" href="/session.php">Count again</a>
        <form method="post" action="/session.php"><button class="quiet">Reset</button></form>
    </div>
    <h2>Requests by worker process</h2>
<?php
table($_SESSION['workers']);
page_end();
