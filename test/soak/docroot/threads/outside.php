<?php
/* Programs and files: with the environment, the folder and the locks of this request and no other. */
require __DIR__ . '/../_seal.php';
$n = (int) ($_GET['n'] ?? 0);
$wrong = [];
$expect = function (string $what, mixed $got, mixed $wanted) use (&$wrong): void {
    if ($got !== $wanted) $wrong[] = "$what: " . json_encode([$got, $wanted]);
};

putenv("SOAK_OUTSIDE=$n");
chdir(__DIR__ . '/' . ($n % 2 ? 'odd' : 'even'));
$expect('a program', shell_exec('printf "%s " "$SOAK_OUTSIDE"; cat which.txt'), "$n " . ($n % 2 ? "odd\n" : "even\n"));
$pipes = [];
$program = proc_open(['cat'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], $sent = filler(3000));
fclose($pipes[0]);
$expect('through a pipe', stream_get_contents($pipes[1]), $sent);
$expect('its exit code', proc_close($program), 0);

$file = tmpfile();
fwrite($file, $sent);
rewind($file);
$expect('a temporary file', stream_get_contents($file), $sent);
$name = tempnam(sys_get_temp_dir(), 'soak');
$expect('written', file_put_contents($name, $sent, LOCK_EX), strlen($sent));
$expect('read', file_get_contents($name), $sent);
unlink($name);

$database = new PDO('sqlite:' . __DIR__ . '/sessions/counts.sqlite', null, null, [PDO::ATTR_TIMEOUT => 20]);
$database->exec('pragma synchronous = off');
$database->exec('create table if not exists counts (token text primary key)');
$insert = $database->prepare('insert into counts values (?)');
$database->beginTransaction();
$insert->execute([$_GET['t']]);
$database->commit();
$found = $database->prepare('select count(*) from counts where token = ?');
$found->execute([$_GET['t']]);
$expect('in the database', (int) $found->fetchColumn(), 1);
echo sealed($wrong === [] ? 'as it should be' : implode('; ', $wrong));
