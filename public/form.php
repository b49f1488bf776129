<?php

declare(strict_types=1);

require __DIR__ . '/_page.php';

$posted = $_SERVER['REQUEST_METHOD'] === 'POST';
$field = static fn (string $name): string => is_string($_POST[$name] ?? null) ? $_POST[$name] : '';
$topics = is_array($_POST['topics'] ?? null) ? $_POST['topics'] : [];

page_start('Form', 'Send something and see what arrives in $_POST.');
?>
    <form method="post" action="/form.php" class="panel">
        <label>Name <input name="name" value="<?= h($field('name')) ?>" placeholder="Zoë" autocomplete="off"></label>
        <label>Message <textarea name="message" rows="3"><?= h($field('message')) ?></textarea></label>
        <fieldset>
            <legend>Topics</legend>
<?php foreach (['speed', 'memory', 'isolation'] as $topic): ?>
            <label class="inline"><input type="checkbox" name="topics[]" value="<?= h($topic) ?>"<?= in_array($topic, $topics, true) ? ' checked' : '' ?>> <?= h($topic) ?></label>
<?php endforeach ?>
        </fieldset>
        <button>Send</button>
    </form>
<?php if ($posted): ?>
    <h2>Received</h2>
<?php
    table($_POST);
    $body = file_get_contents('php://input');
    ?>
    <h2>As it came</h2>
    <p><code><?= h($_SERVER['CONTENT_TYPE'] ?? 'no content type') ?></code>, <?= strlen($body) ?> bytes in <code>php://input</code></p>
    <pre><?= h(substr($body, 0, 2000)) ?></pre>
<?php endif ?>
<?php
page_end();
