<?php
ksort($_POST);
echo count($_POST), ' fields ', strlen(implode('', $_POST)), ' bytes ', md5(serialize($_POST));
