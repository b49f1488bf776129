<?php
// Reads what an application reads: every header, the cookies, the query and the address of the request.
$headers = [];
foreach ($_SERVER as $name => $value) {
    if (str_starts_with($name, 'HTTP_')) {
        $headers[$name] = $value;
    }
}
ksort($headers);
ksort($_COOKIE);
echo count($headers), ' headers ', count($_COOKIE), ' cookies ',
    $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['REQUEST_URI'], ' ', $_SERVER['QUERY_STRING'], ' ',
    md5(serialize([$headers, $_COOKIE, $_GET]));
