<?php
/* Libraries that keep state of their own: PCRE's compiler and its cache, mbstring, ICU, iconv, JSON, dates, XML, SQLite. */
require __DIR__ . '/../_seal.php';
$n = (int) ($_GET['n'] ?? 0);
$told = [];
$words = explode(' ', 'Zebra äpfel Öl überall straße naïve façade 日本語 テスト привет мир');
$text = implode(' ', array_slice([...$words, ...$words], $n % 11, 11));

for ($i = 0; $i < 8; $i++) {
    $pattern = '/(?<w>\p{L}{' . (1 + ($n + $i) % 9) . ',})(\s|$)/u';
    $told[] = preg_replace_callback($pattern, fn (array $m) => strlen($m['w']) . $m[2], $text);
    $told[] = preg_match_all("/[a-z$i]+(?=.)/i", $text);
}
$told[] = preg_match('/^(a+)+$/', str_repeat('a', 30 + $n) . 'b') === false ? preg_last_error_msg() : 'no match';
$told[] = mb_strtoupper($text) . mb_substr($text, 3, 9) . mb_strwidth($text) . mb_convert_case($text, MB_CASE_TITLE);
$told[] = bin2hex(mb_convert_encoding($text, 'UTF-16LE', 'UTF-8')) . mb_detect_encoding($text, ['ASCII', 'UTF-8']);
$told[] = iconv('UTF-8', 'ISO-8859-1//IGNORE', 'fa' . $n . 'çade') === "fa{$n}\xe7ade" ? 'iconv' : 'not iconv';
if (extension_loaded('intl')) {
    $locale = ['de_DE', 'en_US', 'fr_FR', 'ja_JP'][$n % 4];
    $told[] = (new NumberFormatter($locale, NumberFormatter::DECIMAL))->format(1234567.891 + $n);
    $told[] = MessageFormatter::formatMessage($locale, '{0, plural, one{one} other{# of them}} {1}', [$n % 3, $text]);
    $sorted = $words;
    (new Collator($locale))->sort($sorted);
    $told[] = implode(' ', $sorted);
    $told[] = bin2hex(Normalizer::normalize($text, Normalizer::FORM_D));
    $format = new IntlDateFormatter($locale, IntlDateFormatter::FULL, IntlDateFormatter::SHORT, 'Asia/Tokyo');
    $told[] = $format->format(86400 * 365 * ($n + 1));
}
$value = ['n' => $n, 'text' => $text, 'list' => array_fill(0, 20, ['x' => 1 / 3, 'y' => [null, true]])];
$json = json_encode($value, JSON_UNESCAPED_UNICODE | JSON_PRETTY_PRINT | JSON_THROW_ON_ERROR);
$told[] = json_decode($json, true) == $value ? md5($json) : 'not the same';
try {
    json_decode('{"a":' . str_repeat('[', $n) . '}', flags: JSON_THROW_ON_ERROR);
} catch (JsonException $error) {
    $told[] = $error->getMessage();
}
$date = new DateTimeImmutable('@' . $n * 1e7, new DateTimeZone('UTC'));
foreach (['America/New_York', 'Europe/Berlin', 'Asia/Kathmandu'] as $zone) {
    $told[] = $date->setTimezone(new DateTimeZone($zone))->modify('last friday of next month')->format(DATE_ATOM);
}
$document = new DOMDocument;
libxml_use_internal_errors(true);
$told[] = $document->loadXML("<a><b n='$n'>$text</b><c></a>") ? 'xml' : trim(libxml_get_last_error()->message);
libxml_clear_errors();
$told[] = (string) simplexml_load_string("<a><b n='$n'>ä</b></a>")->b['n'];

$database = new PDO('sqlite::memory:');
$database->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
$database->exec('create table t (id integer primary key, word text)');
$insert = $database->prepare('insert into t (word) values (?)');
foreach ($words as $word) $insert->execute([$word . $n]);
$told[] = $database->query('select group_concat(word), sum(id), max(length(word)) from t')->fetch(PDO::FETCH_NUM);
try {
    $database->exec('insert into nowhere values (1)');
} catch (PDOException $error) {
    $told[] = $error->getMessage();
}
$told[] = gzuncompress(gzcompress($text, 1 + $n % 9)) === $text ? hash('sha256', $text) : 'not unpacked';
$told[] = hash_hmac('sha512', $text, (string) $n) . base64_encode(hash('xxh128', $text, true));
if (extension_loaded('openssl')) {
    $told[] = openssl_encrypt($text, 'aes-256-gcm', str_repeat('k', 32), 0, str_repeat("$n", 12), $tag) . bin2hex($tag);
}
echo sealed(json_encode($told, JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR));
