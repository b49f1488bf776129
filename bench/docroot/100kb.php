<?php
for ($i = 0; $i < 100; $i++) {
    echo str_repeat(chr(97 + $i % 26), 1023), "\n";
}
