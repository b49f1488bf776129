<?php
// Streams ?mib=N pieces of one MiB, each begun with its number.
header('Content-Type: application/octet-stream');
$rest = str_repeat("phprun.\n", (1 << 17) - 1);
for ($i = 0; $i < (int) $_GET['mib']; $i++) {
    echo sprintf("%07d\n", $i), $rest;
    flush();
}
