<?php
// What the servers must have in common.
$extensions = get_loaded_extensions();
sort($extensions);
$opcache = opcache_get_status(false);
echo json_encode([
    'version' => PHP_VERSION,
    'sapi' => PHP_SAPI,
    'iniFiles' => [php_ini_loaded_file(), ...array_map(trim(...), explode(',', (string) php_ini_scanned_files()))],
    'extensions' => $extensions,
    'opcache' => $opcache['opcache_enabled'] ?? false,
    'jit' => $opcache['jit']['on'] ?? false,
    'ini' => ini_get_all(null, false),
]);
