<?php
/** The first line of every answer: the request's token, and a checksum of all that was received of the request. */
function first_line(?string $body = null): string
{
    $token = $_SERVER['HTTP_X_TOKEN'] ?? '';
    $body ??= file_get_contents('php://input');
    $sum = hash('crc32b', "{$_SERVER['REQUEST_METHOD']} {$_SERVER['REQUEST_URI']} $token\n$body");
    return ($_GET['t'] ?? '') . " $sum\n";
}

/** Something to fill an answer with that is different for every request. */
function filler(int $bytes): string
{
    $word = ($_GET['t'] ?? '') . '.';
    return substr(str_repeat($word, intdiv($bytes, strlen($word)) + 1), 0, $bytes);
}

/** A whole answer: what goes before, and its checksum as the last eight characters. */
function sealed(string $filler = '', ?string $body = null): string
{
    $text = first_line($body) . $filler;
    return $text . hash('crc32b', $text);
}
