<?php
function first_line(): string
{
    return '';
}
