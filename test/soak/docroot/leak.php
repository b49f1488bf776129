<?php
require __DIR__ . '/_seal.php';
$bytes = (int) ($_GET['bytes'] ?? 10 * 1024 * 1024);
// Not owned, so never freed; persistent, so from malloc() and not from PHP's own heap.
FFI::memset(FFI::addr(FFI::new("char[$bytes]", false, true)), 1, $bytes);
echo sealed();
