<?php
$answer = static function (): void {
    echo 'Hello, world!';
};
while (phprun_handle_request($answer)) {
}
