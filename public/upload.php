<?php

declare(strict_types=1);

require __DIR__ . '/_page.php';

const REASONS = [
    UPLOAD_ERR_INI_SIZE => 'larger than upload_max_filesize',
    UPLOAD_ERR_FORM_SIZE => 'larger than the form allows',
    UPLOAD_ERR_PARTIAL => 'arrived only in part',
    UPLOAD_ERR_NO_FILE => 'no file chosen',
    UPLOAD_ERR_NO_TMP_DIR => 'there is no temporary folder',
    UPLOAD_ERR_CANT_WRITE => 'could not be written to disk',
    UPLOAD_ERR_EXTENSION => 'stopped by an extension',
];

/** $_FILES['files'] holds one list per property; this turns it into one array per file. */
function uploaded_files(): array
{
    $files = [];
    foreach ((array) ($_FILES['files']['name'] ?? []) as $i => $name) {
        $file = ['name' => $name];
        foreach (['full_path', 'type', 'tmp_name', 'error', 'size'] as $property) {
            $file[$property] = ((array) $_FILES['files'][$property])[$i];
        }
        $files[] = $file;
    }
    return $files;
}

$posted = $_SERVER['REQUEST_METHOD'] === 'POST';
$files = uploaded_files();

page_start('Upload', 'Send one file or many. Nothing is kept: PHP removes them when the request ends.');
?>
    <form method="post" action="/upload.php" enctype="multipart/form-data" class="panel">
        <label>Files <input type="file" name="files[]" multiple></label>
        <p class="note">
            Up to <?= h(ini_get('upload_max_filesize')) ?> per file, <?= h(ini_get('post_max_size')) ?> together,
            <?= h(ini_get('max_file_uploads')) ?> files (<code>upload_max_filesize</code>, <code>post_max_size</code>,
            <code>max_file_uploads</code>).
        </p>
        <button>Upload</button>
    </form>
<?php if ($posted && $files === []): ?>
    <p class="panel bad">
        Nothing arrived. PHP drops a body larger than <code>post_max_size</code>
        (<?= h($_SERVER['CONTENT_LENGTH'] ?? '0') ?> bytes were sent).
    </p>
<?php elseif ($files !== []): ?>
    <h2>Received</h2>
    <div class="scroll">
    <table>
        <thead><tr><th>Name</th><th>Type, as sent</th><th class="number">Size</th><th>SHA-256</th></tr></thead>
        <tbody>
<?php foreach ($files as $file): ?>
        <tr>
            <td><?= h($file['full_path'] ?: $file['name']) ?></td>
<?php if ($file['error'] === UPLOAD_ERR_OK && is_uploaded_file($file['tmp_name'])): ?>
            <td><?= h($file['type']) ?></td>
            <td class="number"><?= h(human_bytes($file['size'])) ?></td>
            <td><code><?= h(hash_file('sha256', $file['tmp_name'])) ?></code></td>
<?php else: ?>
            <td colspan="3" class="bad"><?= h(REASONS[$file['error']] ?? 'not an upload') ?></td>
<?php endif ?>
        </tr>
<?php endforeach ?>
        </tbody>
    </table>
    </div>
    <h2><code>$_FILES</code></h2>
    <pre><?= h(print_r($_FILES, true)) ?></pre>
<?php endif ?>
<?php
page_end();
