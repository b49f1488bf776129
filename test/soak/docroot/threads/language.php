<?php
/* Classes, closures, generators, fibers, exceptions: the same answer for the same n, whoever else runs. */
require __DIR__ . '/../_seal.php';
spl_autoload_register(function (string $class): void {
    require __DIR__ . '/classes/' . basename(strtr($class, '\\', '/')) . '.php';
});

$n = (int) ($_GET['n'] ?? 0);
$told = [];

// Some classes out of many, each with a parent, an interface and a trait that are loaded with it.
for ($i = 0; $i < 6; $i++) {
    $class = 'Soak\\Leaf' . ($n * 7 + $i * 5) % 40;
    $leaf = new $class($n);
    $told[] = $leaf->describe() . '/' . $class::count() . '/' . $leaf->kind()->name;
}

function walk(array $tree): Generator
{
    foreach ($tree as $key => $value) {
        if (is_array($value)) yield from walk($value);
        else yield $key => $value;
    }
}
$tree = ['a' => range(1, $n + 5), 'b' => ['c' => range(5, 9), 'd' => [['e' => $n]]]];
foreach (walk($tree) as $key => $value) $told[] = "$key$value";

$fibers = array_map(fn (int $i) => new Fiber(function (int $from) use ($i): int {
    for ($sum = 0; $sum < 50; $sum += $i + 1) $from = Fiber::suspend($sum + $from);
    return $sum;
}), range(0, 7));
$waiting = $fibers;
for ($round = 0; $waiting !== []; $round++) {
    foreach ($waiting as $i => $fiber) {
        $told[] = $fiber->isStarted() ? $fiber->resume($round) : $fiber->start($n);
        if ($fiber->isTerminated()) unset($waiting[$i]);
    }
}
$told[] = implode(',', array_map(fn (Fiber $fiber) => $fiber->getReturn(), $fibers));

final class Cleaner
{
    public function __construct(private array &$told, private int $number)
    {
    }

    public function __destruct()
    {
        $this->told[] = "gone {$this->number}";
    }
}
function deep(int $left, array &$told): never
{
    $held = new Cleaner($told, $left);
    try {
        if ($left === 0) throw new DomainException('at the bottom');
        deep($left - 1, $told);
    } catch (DomainException $error) {
        throw new DomainException("$left {$error->getMessage()}", $left, $left % 3 ? $error : null);
    } finally {
        $told[] = "finally $left";
    }
}
try {
    deep(5 + $n % 5, $told);
} catch (DomainException $error) {
    for (; $error !== null; $error = $error->getPrevious()) $told[] = $error->getMessage();
}
set_error_handler(fn (int $level, string $text) => throw new ErrorException($text, 0, $level));
try {
    echo $missing;
} catch (ErrorException $error) {
    $told[] = $error->getMessage();
}
restore_error_handler();

// Rings of objects, for the collector.
for ($i = 0; $i < 200; $i++) {
    $a = new stdClass;
    $b = new stdClass;
    $a->b = $b;
    $b->a = $a;
}
gc_collect_cycles();
mt_srand($n);
$shuffled = range(1, 50);
shuffle($shuffled);
$told[] = implode(' ', $shuffled);
usort($shuffled, fn (int $a, int $b) => [$a % 7, $a] <=> [$b % 7, $b]);
$told[] = md5(serialize($shuffled));
$told[] = unserialize(serialize(new ArrayObject([$n, 'x' => [1.5, null, true]])))['x'][0];
$map = new WeakMap;
$key = new stdClass;
$map[$key] = $n;
unset($key);
$told[] = count($map);
static $calls = 0;
$told[] = ++$calls;
echo sealed(implode("\n", $told));
