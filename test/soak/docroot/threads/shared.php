<?php
/*
 * What belongs to the whole process in C, and must belong to the request in PHP: is it as at the start of every
 * request, and does what this one changes stay as it is, although other threads change it at the same moment?
 */
require __DIR__ . '/../_seal.php';

function state(): array
{
    return [
        'env' => getenv('SOAK_SHARED'),
        'locale' => setlocale(LC_TIME, '0'),
        'decimal' => localeconv()['decimal_point'],
        'zone' => date_default_timezone_get(),
        'hour' => date('H', 0),
        'precision' => ini_get('precision'),
        'third' => (string) (1 / 3),
        'include_path' => ini_get('include_path'),
        'encoding' => mb_internal_encoding(),
        'cwd' => basename(getcwd()),
        'level' => error_reporting(),
        'umask' => umask(),
    ];
}

$zones = ['Asia/Tokyo', 'America/Lima', 'Europe/Paris', 'Pacific/Auckland'];
$n = (int) ($_GET['n'] ?? 0);
$wrong = [];
$start = state();
$usual = [
    'env' => false, 'locale' => 'C', 'decimal' => '.', 'zone' => 'UTC', 'hour' => '00', 'precision' => '14',
    'third' => '0.33333333333333', 'include_path' => '.', 'encoding' => 'UTF-8', 'cwd' => 'threads',
    'level' => (int) get_cfg_var('error_reporting'), 'umask' => $start['umask'],
];
if ($start != $usual) $wrong[] = 'at the start: ' . json_encode(array_diff_assoc($start, $usual));

putenv("SOAK_SHARED=$n");
setlocale(LC_ALL, 'C.UTF-8');
date_default_timezone_set($zones[$n % 4]);
ini_set('precision', (string) (5 + $n % 8));
ini_set('include_path', "/tmp/$n");
mb_internal_encoding($n % 2 ? 'ISO-8859-1' : 'UTF-8');
chdir(__DIR__ . '/' . ($n % 2 ? 'odd' : 'even'));
error_reporting(E_ALL & ~($n % 2 ? E_NOTICE : E_DEPRECATED));
$mine = state();
for ($i = 0; $i < 3; $i++) {
    usleep($n * 37 % 700);
    $now = state();
    if ($now != $mine) $wrong[] = "round $i: " . json_encode([array_diff_assoc($now, $mine), array_diff_assoc($mine, $now)]);
}
if ($mine['env'] !== (string) $n || $mine['zone'] !== $zones[$n % 4]) $wrong[] = 'not set: ' . json_encode($mine);
if (trim(file_get_contents('which.txt')) !== ($n % 2 ? 'odd' : 'even')) $wrong[] = 'another folder';
echo sealed($wrong === [] ? 'nothing shared' : implode('; ', $wrong));
