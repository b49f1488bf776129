<?php
$held = str_repeat('x', 100_000);
there_is_no_such_function($held);
